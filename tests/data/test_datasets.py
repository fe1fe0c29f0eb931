"""Every example is visited once, splits partition, and nothing half-read or altered passes for data."""

import gzip
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base.errors import DigitjaxError
from digitjax.data import datasets, tfds
from digitjax.data.datasets import Dataset


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


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(0, 60))
def test_examples_that_are_taken_are_those_of_numpy_in_memory_that_jax_need_not_copy(seed, size, count):
    rng = np.random.default_rng(seed)
    whole = Dataset(rng.integers(0, 256, (size, 28, 28), np.uint8), np.arange(size, dtype=np.int32))
    places = rng.integers(-size, size, count)
    for rows in (places, rng.random(size) < 0.5, slice(int(rng.integers(size)), None)):
        taken = whole.take(rows)
        assert np.array_equal(taken.images, whole.images[rows])
        assert np.array_equal(taken.labels, whole.labels[rows])
    if count and jax.default_backend() == "cpu":
        taken = whole.take(places).images
        assert jax.device_put(taken).unsafe_buffer_pointer() == taken.ctypes.data


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


def test_mnist_may_be_packed_in_any_form_and_is_known_by_its_arrays(mnist_dir, prepared, tmp_path, monkeypatch):
    """Unpacked, as Keras's file has it, and as another file; but not with one pixel changed."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    whole = datasets.load(str(mnist_dir))
    images, labels = (np.concatenate([getattr(part, kind) for part in (whole.train, whole.validation)])
                      for kind in ("images", "labels"))  # fmt: skip
    (tmp_path / "idx").mkdir()
    for file in mnist_dir.glob("*.gz"):
        (tmp_path / "idx" / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    parts = dict(x_train=images, y_train=labels, x_test=whole.test.images, y_test=whole.test.labels)
    np.savez(tmp_path / "mnist.npz", **parts)
    for place in ("idx", "mnist.npz"):
        monkeypatch.setenv("DIGITJAX_MNIST_DIR", str(tmp_path / place))
        again = datasets.load("mnist")
        assert (again.checksum, again.official) == (prepared.checksum, True)
        np.testing.assert_array_equal(again.validation.images, prepared.validation.images)
    images[7, 14, 14] ^= 1
    np.savez(tmp_path / "mnist.npz", **parts)
    with pytest.raises(DigitjaxError, match="other digits"):
        datasets.load("mnist")
    for place in ("nothing", "tfds"):
        monkeypatch.setenv("DIGITJAX_MNIST_DIR", str(tmp_path / place))
        with pytest.raises(DigitjaxError, match="DIGITJAX_MNIST_DIR"):
            datasets.load("mnist")


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
