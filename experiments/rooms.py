"""Who imports whom? Draws the library's imports, before it had rooms and now (seconds; needs the history of git).

python -m experiments.rooms            writes results/rooms.png
"""

import ast
import io
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.ledger import RESULTS

ROOT = Path(__file__).parent.parent
BEFORE = "12bd1d7"
"""The last commit with all files side by side."""
ROOMS = ("base", "picture", "data", "network", "training", "reading", "report")


def sources(commit: str) -> dict[str, str]:
    """The text of each file of the library at a commit, by its dotted name."""
    packed = subprocess.run(["git", "archive", commit, "digitjax"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = [member for member in archive.getmembers() if member.name.endswith(".py")]
        texts = {member.name: archive.extractfile(member) for member in files}
    return {name.removesuffix(".py").replace("/", "."): text.read().decode() for name, text in texts.items() if text}


def imports(texts: dict[str, str]) -> Counter[tuple[str, str]]:
    """How often a module imports another, by their names below the package."""
    found: Counter[tuple[str, str]] = Counter()
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "digitjax":
                for alias in node.names:
                    other = f"{node.module}.{alias.name}"
                    other = other if other in texts else str(node.module)
                    if other in texts and other != name and not other.endswith("__init__"):
                        found[name.removeprefix("digitjax."), other.removeprefix("digitjax.")] += 1
    return found


def draw(axes: Axes, places: dict[str, tuple[float, float]], edges: Counter[tuple[str, str]], title: str) -> None:
    for (user, used), count in edges.items():
        (x0, y0), (x1, y1) = places[user], places[used]
        bend = dict(arrowstyle="-|>", color="#1f5fa8", alpha=0.25 + min(0.5, count / 40), lw=0.5 + min(3, count / 6))
        axes.annotate("", (x1, y1), (x0, y0), arrowprops=bend | {"connectionstyle": "arc3,rad=0.18", "shrinkA": 14})
    for name, (x, y) in places.items():
        axes.text(x, y, name, ha="center", va="center", fontsize=8, bbox=dict(fc="white", ec="#888", pad=2))
    axes.set(title=title, xlim=(-1.25, 1.25), ylim=(-1.2, 1.2))
    axes.axis("off")


def main() -> None:
    before, now = imports(sources(BEFORE)), imports(sources("HEAD"))
    files = sorted({name for edge in before for name in edge})
    angles = np.linspace(0, 2 * np.pi, len(files), endpoint=False)
    ring = {name: (float(np.cos(a)), float(np.sin(a))) for name, a in zip(files, angles)}
    between: Counter[tuple[str, str]] = Counter()
    for (user, used), count in now.items():
        rooms = user.split(".")[0], used.split(".")[0]
        if rooms[0] != rooms[1] and set(rooms) <= set(ROOMS):
            between[rooms] += count
    column = {room: (0.55 * (-1) ** row * (row > 0), 1 - row / 3.2) for row, room in enumerate(ROOMS)}
    figure = Figure((13, 6.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw(left, ring, before, f"before: {len(files)} files, {sum(before.values())} imports between them")
    draw(right, column, between, f"now: {len(ROOMS)} rooms, {sum(between.values())} imports between them, all upwards")
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "rooms.png", dpi=80)


if __name__ == "__main__":
    main()
