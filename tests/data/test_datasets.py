"""Every example is visited once, splits partition, and nothing half-read or altered passes for data."""

import gzip
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from digitjax.base.errors import DigitjaxError, UsageError
from digitjax.data import datasets, formats, tfds
from digitjax.data.formats import Dataset


@given(examples=st.integers(0, 99), size=st.integers(1, 40))
def test_padded_batches_visit_every_example_once(examples, size):
    batches = list(datasets.padded_batches(examples, size))
    assert all(len(indices) == len(weights) == size for indices, weights in batches)
    visited = [index for indices, weights in batches for index in indices[weights > 0]]
    assert visited == list(range(examples))
    assert all((indices < max(examples, 1)).all() for indices, _ in batches)


@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 999), examples=st.integers(1, 300), size=st.integers(1, 70))
def test_an_epoch_visits_all_in_an_order_fixed_by_seed_and_epoch(seed, epoch, examples, size):
    batches = datasets.epoch_batches(seed, epoch, examples, size)
    assert batches.shape[1] == size
    assert sorted(batches.ravel()[:examples]) == list(range(examples))
    np.testing.assert_array_equal(batches, datasets.epoch_batches(seed, epoch, examples, size))
    if examples > 50:
        assert (batches != datasets.epoch_batches(seed, epoch + 1, examples, size)).any()
        assert (batches != datasets.epoch_batches(seed ^ 1, epoch, examples, size)).any()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.floats(0.05, 0.95), st.integers(0, 9))
def test_a_cut_of_stratified_places_takes_the_same_share_of_every_class(labels, share, seed):
    labels = np.array(labels, np.int32)
    places = datasets.stratified(labels, seed)
    for label in np.unique(labels):
        members = places[labels == label]
        assert abs((members >= 1 - share).sum() - share * len(members)) <= 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_splits_partition_what_came(splits, share):
    again = datasets.load(splits.name, share)
    whole = again.everything()
    assert sorted(map(hash, map(bytes, whole.images))) == sorted(map(hash, map(bytes, splits.everything().images)))
    assert again.checksum == splits.checksum
    if share:
        kept = len(again.train.labels) + len(again.validation.labels)
        assert abs(len(again.validation.labels) / kept - share) < 0.01


def test_splits_of_an_undivided_source_are_fixed_by_its_content(few, tmp_path):
    part = few.train
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", images=part.images, labels=part.labels.astype(np.int64))
    a, b = (datasets.load(str(tmp_path / f"{name}.npz")) for name in ("a", "b"))
    assert a.checksum == b.checksum
    assert not a.official
    np.testing.assert_array_equal(a.test.images, b.test.images)


# --- MNIST through TFDS ---


@pytest.fixture(scope="module")
def prepared(mnist_dir):
    assert "tensorflow" not in sys.modules
    return datasets.load("mnist")


def test_tfds_gives_the_images_of_the_idx_files_in_their_order(prepared, mnist_dir):
    direct = datasets.load(str(mnist_dir))
    assert (len(prepared.train.labels), len(prepared.validation.labels), len(prepared.test.labels)) == (
        55_000,
        5_000,
        10_000,
    )
    assert prepared.checksum == direct.checksum
    np.testing.assert_array_equal(prepared.validation.images, direct.validation.images)
    raw = np.frombuffer(gzip.decompress((mnist_dir / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    np.testing.assert_array_equal(prepared.validation.labels, raw[-5_000:])


def test_tfds_needs_no_tensorflow(prepared):
    assert prepared.official
    assert tfds.arrays_file("mnist").parent.joinpath("dataset_info.json").exists()
    assert "tensorflow" not in sys.modules


def test_altered_arrays_are_refused_by_name(prepared):
    file = tfds.arrays_file("mnist")
    content = file.read_bytes()
    try:
        for altered in (content[:-1000], content[:400] + bytes([content[400] ^ 1]) + content[401:]):
            file.write_bytes(altered)
            with pytest.raises(DigitjaxError, match=r"arrays\.npz"):
                datasets.load("mnist")
    finally:
        file.write_bytes(content)
    assert datasets.load("mnist").checksum == prepared.checksum


@pytest.mark.parametrize("cut", ["short", "changed", "missing"])
def test_a_damaged_idx_file_is_refused_by_name(mnist_dir, tmp_path, monkeypatch, cut):
    for file in mnist_dir.glob("*.gz"):
        tmp_path.joinpath(file.name).write_bytes(file.read_bytes())
    victim = tmp_path / "t10k-labels-idx1-ubyte.gz"
    content = victim.read_bytes()
    victim.write_bytes(content[:-9] if cut == "short" else content[:99] + bytes([content[99] ^ 8]) + content[100:])
    if cut == "missing":
        victim.unlink()
    monkeypatch.setenv("DIGITJAX_MNIST_DIR", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    with pytest.raises(DigitjaxError, match="t10k-labels-idx1-ubyte"):
        datasets.load("mnist")
    with pytest.raises(DigitjaxError, match="t10k-labels-idx1-ubyte"):
        datasets.load(str(tmp_path))
    assert not (tmp_path / "tfds").exists()


@pytest.mark.slow
def test_a_preparation_killed_half_way_does_not_count(mnist_dir, tmp_path):
    environment = os.environ | {"TFDS_DATA_DIR": str(tmp_path), "DIGITJAX_MNIST_DIR": str(mnist_dir)}
    command = [sys.executable, "-c", "from digitjax.data import datasets; print(datasets.load('mnist').checksum)"]
    process = subprocess.Popen(command, env=environment)
    while not list(tmp_path.glob("*/*incomplete*")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("*/1.0.0/arrays.npz"))
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert again.stdout.split()[-1] == datasets.load(str(mnist_dir)).checksum
    assert not list(tmp_path.glob("*/*incomplete*"))


OFFLINE = {
    "TFDS_DATA_DIR": "",
    "DIGITJAX_MNIST_DIR": "",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("source", ["auto", "mnist", "fashion_mnist", "kmnist", "emnist/digits"])
def test_without_network_auto_falls_back_and_names_are_refused_at_once(source, tmp_path, monkeypatch):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value or str(tmp_path))
    monkeypatch.delenv("DIGITJAX_MNIST_DIR")
    started = time.monotonic()
    if source == "auto":
        found = datasets.load("auto")
        assert found.name == "mnist5k"
        assert "mnist5k" in found.note
        assert "\n" not in found.note
    else:
        with pytest.raises(DigitjaxError, match="cannot be had"):
            datasets.load(source)
    assert time.monotonic() - started < 10


def test_mnist5k_is_balanced():
    whole = datasets.load("mnist5k").everything()
    assert np.bincount(whole.labels).tolist() == [500] * 10


def test_mnist5k_lies_within_the_training_images_of_mnist(prepared):
    training = {bytes(image) for image in np.concatenate([prepared.train.images, prepared.validation.images])}
    assert all(bytes(image) in training for image in datasets.load("mnist5k").everything().images)


# --- files ---

GOOD = {"images": np.zeros((20, 28, 28), np.uint8), "labels": np.arange(20) % 10}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": None}, "no images and labels"),
        ({"images": None}, "no images and labels"),
        ({"images": np.zeros((20, 32, 32), np.uint8)}, "32"),
        ({"images": np.full((20, 28, 28), 0.5, np.float32) * 3}, "float32 from 1.5"),
        ({"images": np.full((20, 28, 28), -1, np.int64)}, "from -1"),
        ({"images": np.full((20, 28, 28), np.nan)}, "float64"),
        ({"images": np.zeros((20, 28, 28, 3), np.uint8)}, "28, 28, 3"),
        ({"images": np.zeros((0, 28, 28), np.uint8), "labels": np.zeros(0, int)}, "empty"),
        ({"labels": np.arange(20)}, "0 to 19"),
        ({"labels": np.arange(20) - 1}, "-1"),
        ({"labels": np.arange(19)}, "19"),
        ({"labels": np.linspace(0, 1, 20)}, "float64"),
        ({"labels": np.array([None] * 20)}, "npz"),
    ],
)
def test_a_bad_npz_is_refused_with_what_is_wrong(tmp_path, changes, complaint):
    arrays = {name: array for name, array in (GOOD | changes).items() if array is not None}
    np.savez(tmp_path / "digits.npz", **arrays)
    with pytest.raises(DigitjaxError, match=complaint):
        datasets.load(str(tmp_path / "digits.npz"))


@given(st.binary(max_size=300))
def test_no_bytes_pass_for_an_npz_or_an_idx_file(content):
    path = tfds.data_dir() / "noise.npz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DigitjaxError, match="npz"):
        datasets.load(str(path))
    with pytest.raises(ValueError, match="it "):
        formats.idx_array(content[: len(content) // 2] + b"x")


@given(st.integers(0, 4), st.integers(0, 5))
def test_an_idx_array_comes_back(rows, columns):
    array = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    header = b"\x00\x00\x08\x02" + np.array([rows, columns], ">u4").tobytes()
    np.testing.assert_array_equal(formats.idx_array(header + array.tobytes()), array)


def _class_folders(folder, digits: Dataset):
    for row, (image, label) in enumerate(zip(digits.images, digits.labels)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - image).resize((56, 56)).save(folder / str(label) / f"{row}.png")


def test_a_folder_a_class_is_read_in_mnists_form(few, tmp_path):
    _class_folders(tmp_path, Dataset(few.train.images[:60], few.train.labels[:60]))
    found = datasets.load(str(tmp_path)).everything()
    assert sorted(found.labels) == sorted(few.train.labels[:60])
    assert (found.images[:, 0] == 0).all()
    assert found.images.max() > 200


def test_the_same_digits_are_the_same_data_in_every_form(few, tmp_path):
    """Arrays of any usual shape and name, tables, and IDX files under the names that unpackers leave."""
    images, labels = few.train.images[:60], few.train.labels[:60].astype(np.int64)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    np.savez_compressed(tmp_path / "b.npz", images=images.reshape(-1, 784), labels=labels[:, None])
    np.savez(tmp_path / "c.npz", x_train=images[..., None], y_train=labels)
    np.savez(tmp_path / "d.npz", images=images[:, None], labels=labels)
    pictures = pa.array([{"bytes": cv2.imencode(".png", image)[1].tobytes(), "path": None} for image in images])
    pq.write_table(pa.table({"image": pictures, "label": labels}), tmp_path / "e.parquet")
    np.savez(tmp_path / "f.npz", images=images / 255.0, labels=np.eye(10)[labels])
    np.savez(tmp_path / "g.npz", images=images.astype(np.int64), labels=labels.astype(float))
    np.savez(tmp_path / "h.npz", images=255 - images, labels=labels)
    (tmp_path / "i").mkdir()
    np.save(tmp_path / "i/images.npy", images)
    np.save(tmp_path / "i/labels.npy", labels)
    rows = np.column_stack([labels, images.reshape(-1, 784)])
    head = ",".join(["label", *(f"pixel{place}" for place in range(784))])
    np.savetxt(tmp_path / "j.csv", rows, "%d", ",", header=head, comments="")
    np.savetxt(tmp_path / "k.csv.gz", rows, "%d", ",")
    np.savetxt(tmp_path / "l.csv", np.roll(rows, -1, axis=1), "%d", ",")
    arff = [f"@ATTRIBUTE pixel{place} real" for place in range(784)] + [
        "@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}",
        "@DATA",
    ]
    quoted = [",".join(map(str, row[1:])) + f",'{row[0]}'" for row in rows]
    (tmp_path / "m.arff").write_text("\n".join(["% MNIST", "@RELATION mnist", *arff, *quoted]) + "\n")
    expected = datasets.load(str(tmp_path / "a.npz"))
    others = (
        "b.npz",
        "c.npz",
        "d.npz",
        "e.parquet",
        "f.npz",
        "g.npz",
        "h.npz",
        "i",
        "j.csv",
        "k.csv.gz",
        "l.csv",
        "m.arff",
    )
    for name in others:
        found = datasets.load(str(tmp_path / name))
        assert found.checksum == expected.checksum, name
        np.testing.assert_array_equal(found.train.images, expected.train.images)


@pytest.mark.parametrize("form", ["{}-images-idx3-ubyte", "{}-images.idx3-ubyte", "{}-images-idx3-ubyte.gz"])
def test_idx_files_are_known_by_any_of_their_usual_names(few, tmp_path, form):
    for part, digits in (("train", few.train), ("t10k", few.test)):
        for kind, array in (("images", digits.images), ("labels", digits.labels.astype(np.uint8))):
            head = b"\x00\x00\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes()
            name = form.format(part).replace("images", kind).replace("idx3", f"idx{array.ndim}")
            content = head + array.tobytes()
            (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = datasets.load(str(tmp_path), validation_share=0.2)
    np.testing.assert_array_equal(found.test.images, few.test.images)
    assert len(found.train.labels) + len(found.validation.labels) == len(few.train.labels)


@pytest.mark.parametrize("names", ["{}", "{:02d}", "digit_{}", "words", "sample"])
@pytest.mark.parametrize("above", [("training", "testing"), ("train", "test"), ()])
def test_class_folders_are_known_by_any_of_their_usual_names(few, tmp_path, names, above):
    digits = Dataset(few.train.images[:40], few.train.labels[:40])
    for part in above or ("",):
        _class_folders(tmp_path / part, digits)
        for folder in [*(tmp_path / part).iterdir()]:
            digit = int(folder.name)
            named = {"words": formats._WORDS[digit], "sample": f"Sample{digit + 1:03d}"}.get(names) or names.format(
                digit
            )
            folder.rename(folder.with_name(f"_{named}"))
        for folder in [*(tmp_path / part).iterdir()]:
            folder.rename(folder.with_name(folder.name[1:]))
    found = datasets.load(str(tmp_path))
    assert found.official == bool(above)
    assert sorted(found.everything().labels) == sorted(np.concatenate([digits.labels] * max(1, len(above))))


@given(st.integers(0, 1000))
def test_a_sorted_set_with_a_test_part_has_every_class_in_each_part_and_a_permuted_one_too(few, seed):
    order = np.argsort(few.train.labels, kind="stable")
    if seed:
        order = np.random.default_rng(seed).permutation(order)
    file = tfds.data_dir() / "sorted.npz"
    file.parent.mkdir(exist_ok=True)
    images, labels = few.train.images[order], few.train.labels[order]
    np.savez(file, x_train=images, y_train=labels, x_test=few.test.images, y_test=few.test.labels)
    found = datasets.load(str(file))
    assert set(found.train.labels) == set(found.validation.labels) == set(labels)
    np.testing.assert_array_equal(found.test.images, few.test.images)


@pytest.mark.parametrize("each", range(1, 9))
def test_a_few_pictures_a_class_can_be_trained_on_and_scored_whole(few, tmp_path, each):
    places = np.concatenate([np.flatnonzero(few.train.labels == digit)[:each] for digit in range(10)])
    np.savez(tmp_path / "few.npz", images=few.train.images[places], labels=few.train.labels[places])
    found = datasets.load(str(tmp_path / "few.npz"))
    assert min(len(part.labels) for part in (found.train, found.validation, found.test)) >= 1
    assert len(found.everything().labels) == 10 * each
    digits, note, name = datasets.scored(str(tmp_path / "few.npz"), found.checksum)
    assert (len(digits.labels), note) == (10 * each, "")
    assert "holds what this model was trained on" in name
    assert "trained on" not in datasets.scored(str(tmp_path / "few.npz"), "another")[2]


CHANGES = {
    "dark on bright": lambda images: 255 - images,
    "from 0 to 1,": lambda images: (images > 127) * np.uint8(1),
    "from 0 to 16": lambda images: images // 16,
}


@pytest.mark.parametrize(("told", "change"), CHANGES.items())
def test_a_set_in_another_ground_or_range_is_put_right_and_that_is_said(few, tmp_path, told, change):
    np.savez(tmp_path / "a.npz", images=change(few.train.images[:90]), labels=few.train.labels[:90])
    found = datasets.load(str(tmp_path / "a.npz"))
    assert told in found.note
    images = found.everything().images
    assert images.max() >= 238
    assert np.median(images) == 0


def test_pictures_in_deeper_folders_belong_to_their_class(few, tmp_path):
    _class_folders(tmp_path, Dataset(few.train.images[:60], few.train.labels[:60]))
    deeper = tmp_path / "7" / "second_day"
    deeper.mkdir(parents=True, exist_ok=True)
    Image.fromarray(few.train.images[0]).save(deeper / "more.png")
    assert len(datasets.load(str(tmp_path)).everything().labels) == 61


def test_a_folder_that_is_no_data_is_refused(tmp_path):
    with pytest.raises(DigitjaxError, match="no sub-folders"):
        datasets.load(str(tmp_path))
    (tmp_path / "sevenths").mkdir()
    with pytest.raises(DigitjaxError, match="sevenths"):
        datasets.load(str(tmp_path))
    (tmp_path / "sevenths").rename(tmp_path / "7")
    with pytest.raises(DigitjaxError, match="empty"):
        datasets.load(str(tmp_path))
    (tmp_path / "7" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DigitjaxError, match=r"broken\.png"):
        datasets.load(str(tmp_path))


def test_too_few_pictures_are_refused(tmp_path):
    np.savez(tmp_path / "two.npz", images=GOOD["images"][:2], labels=GOOD["labels"][:2])
    with pytest.raises(DigitjaxError, match="2 pictures"):
        datasets.load(str(tmp_path / "two.npz"))


def test_an_unknown_source_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean mnist"):
        datasets.load("minst")


def test_the_inventory_names_every_source():
    assert {row.name for row in datasets.inventory()} == {*tfds.TFDS_NAMES, "mnist5k"}
