"""RapidOCR on a folder of pictures in a process of its own; prints one JSON document. For `experiments.bench.ocr`."""

import argparse
import json
import re
import time
from pathlib import Path

import rapidocr
from ocr_files import milliseconds_of, peak_mib, pictures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines-alone", action="store_true", help="each picture is one line: nothing is looked for")
    args = parser.parse_args()
    settings = {"EngineConfig.onnxruntime.intra_op_num_threads": 1, "Global.log_level": "error"}
    engine = rapidocr.RapidOCR(params=settings)
    started = time.perf_counter()

    def read(file: bytes) -> str:
        found = engine(file, use_det=not args.lines_alone, use_cls=False)
        return "".join(re.findall(r"\d", "".join(found.txts or ())))

    names = pictures(args.folder)
    read(names[0].read_bytes())
    first = time.perf_counter() - started
    texts, milliseconds = milliseconds_of(read, names)
    weights = sum(file.stat().st_size for file in Path(rapidocr.__file__).parent.rglob("*.onnx")) / 1e6
    print(json.dumps(dict(texts=texts, ms=milliseconds, mib=peak_mib(), mb=weights, first_seconds=first)))


if __name__ == "__main__":
    main()
