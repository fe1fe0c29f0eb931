"""The canonicaliser in a process of its own: milliseconds a file, and what memory the files take. Loads no JAX.

`python -m experiments.bench.canonical FOLDER` prints one JSON document on the files of a folder; `write` makes them.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from digitjax.picture.canonical import canonical


def write(folder: Path, source: str) -> dict[str, Path]:
    """Fills a folder a kind of file: MNIST's digits as they are and inverted, drawings, and photos."""
    from digitjax.data import datasets
    from experiments.pictures import Picture, sample

    def png(picture: Picture, side: int) -> bytes:
        is_file = isinstance(picture, bytes)
        pixels = np.asarray(
            cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED) if is_file else picture
        )
        return cv2.imencode(".png", cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA))[1].tobytes()

    digits = datasets.load(source).validation.images[:100]
    kinds = {
        "28 x 28 PNG of MNIST": [png(digit, 28) for digit in digits],
        "28 x 28 PNG, black on white": [png(255 - digit, 28) for digit in digits],
        "280 x 280 PNG, drawn": [png(picture, 280) for picture, _ in sample("mouse_dark", 40)],
        "280 x 280 PNG, drawn on transparent": [png(picture, 280) for picture, _ in sample("stylus_clear", 40)],
        "280 x 280 PNG of a photo": [png(picture, 280) for picture, _ in sample("photo_paper", 20)],
        "12-megapixel JPEG": [bytes(picture) for picture, _ in sample("photo_large", 4)],
    }
    for kind, files in kinds.items():
        (folder / kind).mkdir(parents=True)
        for number, file in enumerate(files):
            (folder / kind / str(number)).write_bytes(file)
    return {kind: folder / kind for kind in kinds}


def processor_seconds(file: bytes) -> float:
    """On one core, what a clock on the wall would show if nothing else ran."""
    started = time.process_time()
    canonical(file)
    return time.process_time() - started


def peak_mib() -> float:
    """The most memory that this process has held; getrusage would count its parent's too (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    files = [file.read_bytes() for file in sorted(Path(sys.argv[1]).iterdir())]
    canonical(cv2.imencode(".png", np.eye(28, dtype=np.uint8) * 255)[1].tobytes())
    before = peak_mib()
    for file in files:
        canonical(file)
    extra = peak_mib() - before
    milliseconds = [1000 * min(processor_seconds(file) for _ in range(5)) for file in files]
    print(json.dumps({"milliseconds": float(np.median(milliseconds)), "extra_mib": extra}))


if __name__ == "__main__":
    main()
