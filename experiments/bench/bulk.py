"""`digitjax predict FILE --out FOLDER` in a process of its own: seconds and the most memory, as a JSON document."""

import json
import struct
import sys
import tempfile
from pathlib import Path

from digitjax.__main__ import main as digitjax
from experiments.bench.canonical import peak_mib
from experiments.bench.timing import clock


def write(file: Path, source: str, count: int) -> Path:
    """An IDX file of so many pictures: the test digits over and over."""
    from digitjax.data import datasets

    images = datasets.load(source).test.images
    with file.open("wb") as stream:
        stream.write(b"\0\0\x08\x03" + struct.pack(">iii", count, 28, 28))
        for start in range(0, count, len(images)):
            stream.write(images[: count - start].tobytes())
    return file


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds = clock(lambda: digitjax(["predict", sys.argv[1], "--out", str(Path(folder) / "out")]))
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
