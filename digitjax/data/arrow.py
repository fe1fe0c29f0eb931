"""Parquet and Arrow: columns of pictures and of labels, as Hugging Face and others store data sets."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from digitjax.base.disk import stamp
from digitjax.base.errors import DigitjaxError, first_line, require

SUFFIXES = (".parquet", ".arrow", ".feather")
LABELS = ("labels", "label", "y", "target", "targets", "class", "classes", "digit", "gnd")
"""What labels are called, in files of any kind."""
COUNTS = ("", "id", "index", "idx", "row", "row_id", "unnamed: 0", "__index_level_0__")
"""What a column is called that counts rows."""
_DECODED_AT_ONCE = 64


class Table(NamedTuple):
    """A column of a Parquet or Arrow file: pictures as they were in their files, or 784 bytes in MNIST's form."""

    file: str
    column: str
    size: int

    def name(self, place: int) -> dict[str, Any]:
        return {"file": self.file, "row": place}

    def identity(self) -> Mapping[str, Any]:
        return {"pictures": self.size, "column": self.column, "stamp": stamp(self.file)}


def table(file: Path) -> Table | None:
    """The column of pictures of a Parquet or Arrow file; None where it has none (then `numbers` may be its).

    Raises:
      DigitjaxError: it is damaged.
    """
    require("pyarrow")
    import pyarrow as pa

    try:
        schema, rows = _schema(file)
        for field in schema:
            kind = field.type
            packed = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
            numbers = (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and kind.value_type == pa.uint8()
            if packed or numbers or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                return Table(str(file), field.name, rows)
    except (pa.ArrowException, OSError) as error:
        told = f"{file} is no {file.suffix} file, or damaged ({first_line(error)}): name another file"
        raise DigitjaxError(told) from error
    return None


def numbers(file: Path) -> Mapping[str, np.ndarray]:
    """Every column as an array: lists of one shape as the pictures that they are, columns of single numbers side by
    side as `images`, whatever they are called; words and labels stay apart.

    Raises:
      ValueError, pyarrow.ArrowException: lists of several shapes.
    """
    import pyarrow as pa
    import pyarrow.parquet

    whole = pyarrow.parquet.read_table(file) if file.suffix == ".parquet" else _arrow(file)
    found, single = {}, []
    for name in whole.column_names:
        values, shape = whole.column(name).combine_chunks(), [whole.num_rows]
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
        while isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
            shape, values = [*shape, len(values.flatten()) // max(1, len(values))], values.flatten()
        array = np.asarray(values.to_numpy(zero_copy_only=False))
        array = np.array([*map(str, array)]) if array.dtype == object else array
        if len(shape) == 1 and array.dtype.kind in "buif" and name.lower() not in LABELS + COUNTS:
            single.append(array)
        else:
            found[name] = array.reshape(shape)
    return found | ({"images": np.stack(single, 1)} if len(single) >= 64 else {})


def _schema(file: Path) -> tuple[Any, int]:
    if file.suffix != ".parquet":
        whole = _arrow(file)
        return whole.schema, whole.num_rows
    import pyarrow.parquet

    opened = pyarrow.parquet.ParquetFile(file)
    return opened.schema_arrow, opened.metadata.num_rows


def _arrow(file: Path | str) -> Any:
    """A table in Arrow's own form, of a stream, as Hugging Face's cache has it, or of a file; it stays on disk."""
    import pyarrow as pa

    mapped = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(mapped).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(mapped).read_all()


def columns(table: Table) -> list[str]:
    """The names of all columns of a table's file."""
    return list(_schema(Path(table.file))[0].names)


def column(table: Table, name: str) -> Any:
    """A column of a table's file, whole.

    Raises:
      DigitjaxError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet

    try:
        if not table.file.endswith(".parquet"):
            return _arrow(table.file).column(name)
        return pyarrow.parquet.read_table(table.file, columns=[name]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise DigitjaxError(f"{table.file} is damaged ({first_line(error)}): name another file") from error


class Cursor:
    """A place in a column of a Parquet file, whose rows are read a few at a time."""

    def __init__(self, table: Table):
        import pyarrow.parquet

        self._table = table
        self._file = pyarrow.parquet.ParquetFile(table.file, buffer_size=1 << 20)
        groups = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._firsts = [0, *accumulate(groups)]
        self._first, self._rows = 0, None
        self._batches: Iterator[Any] = iter(())

    def close(self) -> None:
        self._file.close()

    def chunks(self, start: int, stop: int) -> Iterator[Any]:
        while start < stop:
            if self._rows is None or start < self._first:
                group = bisect_right(self._firsts, start) - 1
                self._batches = self._file.iter_batches(
                    _DECODED_AT_ONCE, range(group, len(self._firsts) - 1), [self._table.column]
                )
                self._first, self._rows = self._firsts[group], next(self._batches).column(0)
            while start >= self._first + len(self._rows):
                self._first, self._rows = self._first + len(self._rows), next(self._batches).column(0)
            part = self._rows.slice(start - self._first, stop - start)
            yield unpacked(part)
            start += len(part)


def unpacked(column: Any) -> Any:
    """Rows of Arrow as images, where they are numbers, or as the bytes of files."""
    import pyarrow as pa

    if pa.types.is_struct(column.type):  # as Hugging Face stores pictures
        column = column.field("bytes")
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), 28, 28)
    return column.to_pylist()
