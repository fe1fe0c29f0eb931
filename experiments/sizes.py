"""How many megabytes does each part of what is installed take? (a second; asks the packages that are here)

    python -m experiments.sizes

A part is what a requirement brings that the parts above do not. Writes the README's table.
"""

import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from experiments.scoreboard import fill_readme
from experiments.tables import table

PARTS = {
    "training and prediction": {"jax", "jaxtyping", "flax", "flatbuffers", "optax", "orbax-checkpoint", "scipy"},
    "reading pictures": {"opencv-python-headless", "pillow"},
    "figures": {"matplotlib"},
    "data sets": {"tensorflow-datasets", "importlib_resources", "mlxtend"},
    "the service": {"litestar", "httptools", "multipart", "msgspec", "prometheus-client", "uvicorn", "uvloop"},
}
"""What needs which of our requirements; whatever else `pip install` brings is the command line's."""
EXTRAS = ("export", "logs", "tracing", "ray")


def brought(name: str, extra: str = "") -> Iterable[tuple[str, str]]:
    """What a package requires here, as (name, extra)."""
    for line in metadata.requires(name) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield from ((requirement.name, part) for part in ("", *requirement.extras))


def closure(wanted: Iterable[tuple[str, str]]) -> set[str]:
    """The names of all distributions that these need, themselves included."""
    seen, left = set(), list(wanted)
    while left:
        if (package := left.pop()) not in seen:
            seen.add(package)
            left += brought(*package)
    return {metadata.distribution(name).name.lower().replace("_", "-") for name, _ in seen}


def megabytes(names: Iterable[str]) -> float:
    files = [Path(str(file.locate())) for name in names for file in metadata.files(name) or []]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def parts() -> Iterable[tuple[str, set[str]]]:
    """Each part by name, and the distributions that come with it and with none above."""
    own, above = {name for name, _ in brought("digitjax")}, set[str]()
    extras = {f"extra `{extra}`": set(brought("digitjax", extra)) - set(brought("digitjax")) for extra in EXTRAS}
    wanted = {part: {(name, "") for name in names} for part, names in PARTS.items()}
    wanted["the command line"] = {(name, "") for name in own - set().union(*PARTS.values())}
    for part, names in {**wanted, **extras}.items():
        new = closure(names) - above
        above |= new
        yield part, new


def main() -> None:
    rows = []
    for part, names in parts():
        each = {name: megabytes([name]) for name in names}
        largest = max(each, key=each.__getitem__)
        rows.append((part, len(each), f"{sum(each.values()):,.1f}", f"{largest} ({each[largest]:,.1f})"))
    text = table("what for | packages | MB | most of it", rows)
    text += f"\n\nPython {platform.python_version()}, jaxlib {metadata.version('jaxlib')}, {platform.machine()}."
    print(text)
    fill_readme("sizes", text)


if __name__ == "__main__":
    main()
