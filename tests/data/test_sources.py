"""The same digits are the same data in every form; what is none is refused whole, by name."""

import gzip
import pickle
import re
import sqlite3
import tarfile
import time
import warnings
import zipfile

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from digitjax.base.errors import DigitjaxError, UsageError
from digitjax.data import datasets, formats, inputs, sources, tfds
from digitjax.data.formats import Dataset
from digitjax.reading import upright


@given(st.binary(max_size=300))
def test_no_bytes_pass_for_an_npz_or_an_idx_file(content):
    path = tfds.data_dir() / "noise.npz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DigitjaxError, match="npz"):
        datasets.load(str(path))
    with pytest.raises(ValueError, match="it "):
        sources.idx_array(content[: len(content) // 2] + b"x")


@given(st.integers(0, 4), st.integers(0, 5))
def test_an_idx_array_comes_back(rows, columns):
    array = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    header = b"\x00\x00\x08\x02" + np.array([rows, columns], ">u4").tobytes()
    np.testing.assert_array_equal(sources.idx_array(header + array.tobytes()), array)


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


def _rows(images, labels):
    return np.column_stack([labels, images.reshape(-1, 784)])


def _csv(folder, images, labels):
    head = ",".join(["label", *(f"pixel{place}" for place in range(784))])
    np.savetxt(folder / "a.csv", _rows(images, labels), "%d", ",", header=head, comments="")


def _quoted_csv(folder, images, labels):
    rows = [",".join(f'"{value}"' for value in row) for row in _rows(images, labels)]
    (folder / "a.csv").write_text("\n".join(['"y"' + ',"x"' * 784, *rows]))


def _arff(folder, images, labels):
    head = [f"@ATTRIBUTE pixel{place} real" for place in range(784)]
    head += ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}", "@DATA"]
    rows = [",".join(map(str, row[1:])) + f",'{row[0]}'" for row in _rows(images, labels)]
    (folder / "a.arff").write_text("\n".join(["% MNIST", "@RELATION mnist", *head, *rows]) + "\n")


def _hdf5(folder, images, labels):
    with h5py.File(folder / "a.h5", "w") as file:
        file["train/data"], file["train/target"] = images.reshape(-1, 784) / 255.0, labels


def _matlab_7_3(folder, images, labels):
    with h5py.File(folder / "a.mat", "w", userblock_size=512) as file:
        file["X"], file["y"] = images.transpose(2, 1, 0).T.transpose(2, 1, 0), labels[None].astype(float)


def _npy(folder, images, labels):
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)


def _hugging_face(folder, images, labels):
    pictures = pa.array([{"bytes": cv2.imencode(".png", image)[1].tobytes(), "path": None} for image in images])
    return pa.table({"image": pictures, "label": labels})


def _arrow_stream(folder, images, labels):
    table = _hugging_face(folder, images, labels)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def _arrow_file(folder, images, labels):
    table = _hugging_face(folder, images, labels)
    with pa.ipc.new_file(folder / "a.arrow", table.schema) as writer:
        writer.write_table(table)


def _pandas(images, labels):
    columns = {f"{row}x{column}": images[:, row, column] for row in range(28) for column in range(28)}
    return pa.table({"Unnamed: 0": np.arange(len(labels)), "label": labels} | columns)


def _lists(images, labels):
    return pa.table({"label": labels.astype(str), "image": images.tolist()})


def _counted_csv(folder, images, labels):
    head = ",".join(["", "label", *(f"pixel{place}" for place in range(784))])
    np.savetxt(folder / "a.csv", np.c_[range(60), _rows(images, labels)], "%d", ",", header=head, comments="")


def _named_npy(folder, images, labels):
    np.save(folder / "X_train.npy", images / np.float32(255))
    np.save(folder / "y_train.npy", labels)


def _listed(folder, images, labels, table="labels.csv", head="file,label\n", name="{:03d}.png", below="."):
    """The order of the digits is the table's, whatever the files are called."""
    places = np.random.default_rng(0).permutation(len(labels))
    (folder / below).mkdir(parents=True, exist_ok=True)
    for place, image in zip(places, images):
        cv2.imwrite(str(folder / below / f"{place:03d}.png"), image)
    rows = [f"{name.format(place)},{label}" for place, label in zip(places, labels)]
    (folder / table).write_text(head + "\n".join(rows))


FOLDERS = {
    "npy": _npy,
    "npy, named": _named_npy,
    "pictures and a table": _listed,
    "pictures and a table without a head": lambda f, i, n: _listed(f, i, n, head="", below="pictures"),
    "pictures by number": lambda f, i, n: _listed(f, i, n, "train.csv", "id,digit\n", "{:03d}", "images"),
    "pictures as Hugging Face has them": lambda f, i, n: _listed(f, i, n, "metadata.csv", "file_name,label\n"),
    "a folder in a folder": lambda f, i, n: _npy_below(f / "archive" / "digits", i, n),
    "Kaggle's": lambda f, i, n: (
        _csv(f, i, n),
        (f / "sample_submission.csv").write_text("ImageId,Label\n1,0\n2,0\n"),
        np.savetxt(f / "test.csv", i[:4].reshape(4, -1), "%d", ",", header=",".join(["pixel"] * 784), comments=""),
    ),
}


def _npy_below(folder, images, labels):
    folder.mkdir(parents=True)
    _npy(folder, images, labels)


FORMS = {
    "npz": lambda f, i, n: np.savez(f / "a.npz", images=i, labels=n),
    "npz, rows": lambda f, i, n: np.savez_compressed(f / "a.npz", images=i.reshape(-1, 784), labels=n[:, None]),
    "npz, Keras": lambda f, i, n: np.savez(f / "a.npz", x_train=i[..., None], y_train=n),
    "npz, channel first": lambda f, i, n: np.savez(f / "a.npz", images=i[:, None], labels=n),
    "npz, grey as RGB": lambda f, i, n: np.savez(f / "a.npz", images=np.stack([i] * 3, -1), labels=n),
    "npz, floats": lambda f, i, n: np.savez(f / "a.npz", images=i / 255.0, labels=np.eye(10)[n]),
    "npz, from -1": lambda f, i, n: np.savez(f / "a.npz", X=i / 127.5 - 1, Y=np.eye(10)[n].T),
    "npz, int64": lambda f, i, n: np.savez(f / "a.npz", images=i.astype(np.int64), labels=n.astype(float)),
    "npz, dark on bright": lambda f, i, n: np.savez(f / "a.npz", trainX=255 - i, trainY=n),
    "npz, resized": lambda f, i, n: np.savez(f / "a.npz", images=np.clip(i + 0.25, 0, 255), labels=n),
    "npz, words": lambda f, i, n: np.savez(f / "a.npz", data=i.reshape(-1, 784), target=n.astype(str)),
    "npz, numbers as words": lambda f, i, n: np.savez(f / "a.npz", x=i, y=np.array(formats._WORDS)[n]),
    "npz, unnamed": lambda f, i, n: np.savez(f / "a.npz", i, n),
    "npz, unnamed and turned": lambda f, i, n: np.savez(f / "a.npz", n, i),
    "csv": _csv,
    "csv, counted": _counted_csv,
    "csv, quoted": _quoted_csv,
    "csv.gz": lambda f, i, n: np.savetxt(f / "a.csv.gz", _rows(i, n), "%d", ","),
    "csv, label last": lambda f, i, n: np.savetxt(f / "a.csv", np.roll(_rows(i, n), -1, axis=1), "%d", ","),
    "rows with spaces, packed": lambda f, i, n: np.savetxt(f / "zip.train.gz", _rows(i, n), "%.4f", " "),
    "tsv": lambda f, i, n: np.savetxt(f / "a.tsv", _rows(i, n), "%d", "\t"),
    "one-hot behind": lambda f, i, n: np.savetxt(f / "a.data", np.c_[i.reshape(-1, 784), np.eye(10)[n]], "%d", " "),
    "arff": _arff,
    "mat": lambda f, i, n: scipy.io.savemat(f / "a.mat", {"trainX": i.reshape(-1, 784), "trainY": n}),
    "mat, columns": lambda f, i, n: scipy.io.savemat(f / "a.mat", {"data": i.reshape(-1, 784).T, "label": n[None]}),
    "mat, SVHN's": lambda f, i, n: scipy.io.savemat(
        f / "a.mat", {"X": np.stack([i] * 3, -1).transpose(1, 2, 3, 0), "y": np.where(n == 0, 10, n)[:, None]}
    ),
    "mat, EMNIST's": lambda f, i, n: scipy.io.savemat(
        f / "a.mat", {"dataset": {"train": {"images": i.reshape(-1, 784), "labels": n[:, None]}, "mapping": np.eye(3)}}
    ),
    "mat 7.3": _matlab_7_3,
    "hdf5": _hdf5,
    "parquet": lambda f, i, n: pq.write_table(_hugging_face(f, i, n), f / "train-00000-of-00001.parquet"),
    "parquet, columns": lambda f, i, n: pq.write_table(_pandas(i, n), f / "a.parquet"),
    "parquet, lists": lambda f, i, n: pq.write_table(_lists(i, n), f / "a.parquet"),
    "feather": lambda f, i, n: feather.write_feather(_pandas(i, n), f / "a.feather"),
    "arrow": _arrow_file,
    "arrow, streamed": _arrow_stream,
}


@pytest.mark.parametrize("form", FORMS | FOLDERS)
def test_the_same_digits_are_the_same_data_in_every_form(few, tmp_path, form):
    images, labels = few.train.images[:60], few.train.labels[:60].astype(np.int64)
    assert {0, 9} <= {*labels}
    (tmp_path / "plain").mkdir()
    FORMS["npz"](tmp_path / "plain", images, labels)
    expected = datasets.load(str(tmp_path / "plain" / "a.npz"))
    (tmp_path / "other").mkdir()
    (FORMS | FOLDERS)[form](tmp_path / "other", images, labels)
    source = tmp_path / "other" if form in FOLDERS else next((tmp_path / "other").iterdir())
    found = datasets.load(str(source))
    assert found.checksum == expected.checksum
    np.testing.assert_array_equal(found.train.images, expected.train.images)
    if form not in FOLDERS:
        with inputs.Reader(inputs.inputs([str(source)])) as reader:
            forms = reader.read(0, 60).images
        assert np.array_equal(forms if "dark" not in form else 255 - forms, images)


def test_an_array_a_digit_is_a_data_set_and_so_is_a_folder_of_a_file_a_part(few, tmp_path):
    images, labels = few.train.images, few.train.labels
    by_digit = {f"train{digit}": images[labels == digit].reshape(-1, 784) for digit in range(10)}
    by_digit |= {f"test{digit}": images[labels == digit][:3].reshape(-1, 784) for digit in range(10)}
    scipy.io.savemat(tmp_path / "mnist_all.mat", by_digit)
    found = datasets.load(str(tmp_path / "mnist_all.mat"))
    assert len(found.train.labels) + len(found.validation.labels) == len(labels)
    np.testing.assert_array_equal(found.test.images, np.concatenate([images[labels == d][:3] for d in range(10)]))
    (tmp_path / "parts").mkdir()
    for name, part in (("mnist_train.csv", slice(100, 300)), ("mnist_test.csv", slice(100))):
        np.savetxt(tmp_path / "parts" / name, _rows(images[part], labels[part]), "%d", ",")
    found = datasets.load(str(tmp_path / "parts"))
    np.testing.assert_array_equal(found.test.images, images[:100])
    np.savez(tmp_path / "parts" / "train_too.npz", images=images, labels=labels)
    with pytest.raises(DigitjaxError, match="same part"):
        datasets.load(str(tmp_path / "parts"))


def test_a_table_and_its_pictures_have_to_fit(few, tmp_path):
    images, labels = few.train.images[:60], few.train.labels[:60]
    _listed(tmp_path, images, labels)
    cv2.imwrite(str(tmp_path / "more.png"), images[0])
    assert "1 pictures that no table names" in datasets.load(str(tmp_path)).note
    (tmp_path / "007.png").unlink()
    with pytest.raises(DigitjaxError, match=r"labels\.csv names pictures that are not there: '007\.png'"):
        datasets.load(str(tmp_path))
    _listed(tmp_path, images, labels)
    with (tmp_path / "labels.csv").open("a") as table:
        table.write("\n001.png\n")
    with pytest.raises(DigitjaxError, match=r"labels\.csv: the label '' names no digit"):
        datasets.load(str(tmp_path))
    (tmp_path / "large.csv").write_text("7," * 200_000)  # no table of names
    _listed(tmp_path, images, ["x", *labels[1:]])
    with pytest.raises(DigitjaxError, match=r"labels\.csv: the label 'x' names no digit"):
        datasets.load(str(tmp_path))


def _tar(file):
    with tarfile.open(file, "w:gz") as archive:
        archive.add(__file__, "train.csv")


STRANGE = {
    "zip archive": lambda file: zipfile.ZipFile(file, "w").writestr("train.csv", "1,2"),
    "tar archive": _tar,
    "is a pickle": lambda file: file.write_bytes(gzip.compress(pickle.dumps([0]))),
    "is a database": lambda file: sqlite3.connect(file).executescript("create table digits (label int)").close(),
    "is JSON": lambda file: file.write_text('[{"label": 3, "image": [0, 1]}]'),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_file_of_another_kind_is_called_by_its_name_with_what_to_do(tmp_path, what):
    STRANGE[what](tmp_path / "digits")
    with pytest.raises(DigitjaxError, match=rf"digits .*{what}.*: (unpack|save)"):
        datasets.load(str(tmp_path / "digits"))


def test_the_parts_of_a_data_set_are_those_of_its_authors(few, tmp_path):
    """A part to choose by is learnt from where there is one to test with, and is tested with where there is none."""
    parts = {part: (few.train.images[place::3], few.train.labels[place::3]) for place, part in enumerate("abc")}
    (train, val, test) = parts.values()
    for form in ("npz", "mat"):
        names = {"x_train": train[0], "y_train": train[1], "x_val": val[0], "y_val": val[1]}
        all_three = names | {"x_test": test[0], "y_test": test[1]}
        for name, arrays in (("two", names), ("three", all_three)):
            (
                np.savez(tmp_path / f"{name}.npz", **arrays)
                if form == "npz"
                else scipy.io.savemat(tmp_path / f"{name}.mat", arrays)
            )
        two, three = (datasets.load(str(tmp_path / f"{name}.{form}")) for name in ("two", "three"))
        assert two.official
        assert three.official
        np.testing.assert_array_equal(two.test.images, val[0])
        np.testing.assert_array_equal(three.test.images, test[0])
        assert len(three.train.labels) + len(three.validation.labels) == len(train[1]) + len(val[1])


@pytest.mark.torture
@pytest.mark.parametrize(
    "suffix",
    [".npz", ".npy", ".mat", ".h5", ".csv", ".arff", ".tsv", ".parquet", ".arrow", ".feather", ".bin", ".csv.gz"],
)
@pytest.mark.parametrize("kind", ["random", "cut", "text", "empty"])
def test_a_damaged_file_of_any_form_is_refused_in_one_sentence_of_ours(few, tmp_path, suffix, kind):
    good = next((form for form in FORMS | FOLDERS if form.startswith(suffix[1:])), "csv")
    (FORMS | FOLDERS)[good](tmp_path, few.train.images[:20], few.train.labels[:20].astype(np.int64))
    file = tmp_path / f"bad{suffix}"
    written = next(path for path in tmp_path.iterdir() if path.is_file())
    content = {
        "random": np.random.default_rng(0).bytes(5000),
        "cut": written.read_bytes()[: written.stat().st_size // 2 - 7],
        "text": b"to whom it may concern",
        "empty": b"",
    }[kind]
    file.write_bytes(content)
    started = time.monotonic()
    with warnings.catch_warnings(record=True) as warned, pytest.raises(DigitjaxError) as refused:
        warnings.simplefilter("always")  # as for users: here warnings are errors, which would be taken for the refusal
        datasets.load(str(file))
    assert not warned
    assert time.monotonic() - started < 5
    assert file.name in str(refused.value)
    assert not re.search(r"pickle|allow_|Traceback|object at 0x|could not convert", str(refused.value))


def _idx(file, array):
    kind = {"uint8": 8, "int32": 12}[str(array.dtype)]
    head = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = head + array.astype(array.dtype.newbyteorder(">")).tobytes()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def test_qmnists_labels_emnists_names_and_torchvisions_folders_are_known(few, tmp_path):
    parts = (("train", "t10k", few.train), ("test", "t10k", few.test))
    for part, _, digits in parts:
        columns = np.zeros((len(digits.labels), 8), np.int32)
        columns[:, 0], columns[:, 1:] = digits.labels, 77
        _idx(tmp_path / f"qmnist-{part}-images-idx3-ubyte.gz", digits.images)
        _idx(tmp_path / f"qmnist-{part}-labels-idx2-int.gz", columns)
        _idx(tmp_path / f"emnist-digits-{part}-images-idx3-ubyte", digits.images.transpose(0, 2, 1))
        _idx(tmp_path / f"emnist-digits-{part}-labels-idx1-ubyte", digits.labels.astype(np.uint8))
    raw = tmp_path / "torch" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, digits in (("train", few.train), ("t10k", few.test)):
        _idx(raw / f"{name}-images-idx3-ubyte", digits.images)
        _idx(raw / f"{name}-labels-idx1-ubyte", digits.labels.astype(np.uint8))
    with pytest.raises(DigitjaxError, match="2 data sets"):
        datasets.load(str(tmp_path))
    for source in (
        tmp_path / "qmnist-train-images-idx3-ubyte.gz",
        tmp_path / "emnist-digits-test-images-idx3-ubyte",
        *(tmp_path / "torch", raw.parent, raw),
    ):
        found = upright.load(str(source))
        np.testing.assert_array_equal(found.test.images, few.test.images)
        np.testing.assert_array_equal(found.test.labels, few.test.labels)
        assert ("transposed" in found.note) == ("emnist" in source.name)


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


def test_files_beside_the_pictures_are_named_and_all_bad_ones_at_once(few, tmp_path):
    _class_folders(tmp_path, Dataset(few.train.images[:60], few.train.labels[:60]))
    (tmp_path / "README.txt").write_text("mine")
    (tmp_path / "3" / "notes.md").write_text("threes")
    (tmp_path / "3" / "Thumbs.db").write_bytes(b"")
    note = datasets.load(str(tmp_path)).note
    assert "README.txt" in note
    assert "notes.md" in note
    for name in ("a.png", "b.jpg"):
        (tmp_path / "5" / name).write_bytes(b"no picture")
    with pytest.raises(DigitjaxError, match=r"a\.png.*b\.jpg"):
        datasets.load(str(tmp_path))


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
    np.savez(tmp_path / "two.npz", images=np.zeros((2, 28, 28), np.uint8), labels=np.arange(2))
    with pytest.raises(DigitjaxError, match="2 pictures"):
        datasets.load(str(tmp_path / "two.npz"))


def test_an_unknown_source_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean mnist"):
        datasets.load("minst")


def test_the_inventory_names_every_source():
    assert {row.name for row in datasets.inventory()} == {*tfds.TFDS_NAMES, "mnist5k"}
