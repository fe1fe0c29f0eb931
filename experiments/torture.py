"""What hostile clients, damaged files, kills and full disks the project is tried with, and whether it holds.

make torture        (some minutes: the tests that are marked so, of real processes on this machine's loopback)
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from experiments.scoreboard import ROOT, fill_readme
from experiments.tables import table


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-m", "torture", "-q"]
        status = subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT).returncode
        text = rows_of(ElementTree.parse(report).iter("testcase"))
    print(text)
    if status == 0:
        fill_readme("torture", text)
    sys.exit(status)


def rows_of(cases: Iterable[ElementTree.Element]) -> str:
    """A row for each law: what was tried, how often, whether it held, and in how many seconds."""
    found: dict[str, list[ElementTree.Element]] = {}
    for case in cases:
        found.setdefault(re.sub(r"\[.*", "", case.get("name", "")), []).append(case)
    rows = []
    for name, same in found.items():
        failed = sum(case.find("failure") is not None or case.find("error") is not None for case in same)
        skipped = sum(case.find("skipped") is not None for case in same)
        held = f"{len(same) - failed - skipped} of {len(same)}"
        seconds = sum(float(case.get("time", 0)) for case in same)
        rows.append([name.removeprefix("test_").replace("_", " "), held, f"{seconds:.0f}"])
    return table("what was tried | held | s", rows)


if __name__ == "__main__":
    main()
