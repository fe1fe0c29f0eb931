"""What every side of `ocr` does alike; the standard library alone, as the peers live in an environment of their own."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path


def pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix != ".csv")


def milliseconds_of(read: Callable[[bytes], str], files: list[Path]) -> tuple[dict[str, str], float]:
    """What each file says, and the median of the processor's milliseconds for one."""
    texts, times = {}, []
    for file in files:
        content = file.read_bytes()
        started = time.process_time()
        texts[file.name] = read(content)
        times.append(1000 * (time.process_time() - started))
    return texts, statistics.median(times)


def peak_mib() -> float:
    """The most memory that this process has held (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
