"""The house stands as its drawing says: rooms import one way and by their exports, and each seam is in one file."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "digitjax"
SEAMS = {
    "flax": {"network/model.py"},
    "orbax": {"training/checkpoint.py"},
    "tensorflow_datasets": {"data/tfds.py"},
    "matplotlib": {"report/plots.py"},
    "tyro": {"options.py"},
    "rich": {"terminal.py"},
    "litestar": set(),
}
ROOMS = re.findall(r"^ {4}(\w+)/ {2,}\S", (PACKAGE / "README.md").read_text(), re.MULTILINE)
"""In the order in which digitjax/README.md draws them."""
FILES = sorted(file for file in PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def imports(file: Path) -> set[tuple[str, ...]]:
    """Every module of ours that a file imports, anywhere in it, as the parts of its name; of others the first part."""
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = tuple(node.module.split("."))
            is_room = len(parts) == 2 and parts[0] == "digitjax" and parts[1] in ROOMS
            found |= {(*parts, alias.name) for alias in node.names} if is_room else {parts}
    return found


def exported(room: str) -> list[str]:
    return importlib.import_module(f"digitjax.{room}").__all__


def test_the_drawing_shows_every_room():
    folders = {file.parent.name for file in FILES if file.parent != PACKAGE}
    assert set(ROOMS) == folders
    assert len(ROOMS) == len(folders)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_each_of_its_files_is_for_and_exports_only_those(room):
    drawn = (PACKAGE / room / "__init__.py").read_text()
    files = {file.stem for file in (PACKAGE / room).glob("*.py")} - {"__init__"}
    named = {name for line in re.findall(r"^- (`.*?`): ", drawn, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)}
    assert named == files
    assert set(exported(room)) <= files
    assert len(files) <= 8 or room == "reading"


@pytest.mark.parametrize("file", [file for file in FILES if file.parent != PACKAGE], ids=name_of)
def test_a_room_imports_only_from_rooms_above_its_own_and_only_what_they_export(file):
    own = ROOMS.index(file.parent.name)
    for package, *inner in imports(file):
        assert package not in {"serve", "experiments", "tests"}
        if package == "digitjax" and inner:
            room, *module = inner
            assert room in ROOMS, f"{name_of(file)} imports {room}"
            assert ROOMS.index(room) <= own, f"{name_of(file)} imports from {room}, which stands below it"
            assert ROOMS.index(room) == own or module[0] in exported(room), f"{module} is private to {room}"


@pytest.mark.parametrize("folder", ["serve", "experiments"])
def test_who_uses_the_library_takes_what_it_exports(folder):
    for file in (ROOT / folder).rglob("*.py"):
        for package, *inner in imports(file):
            if package == "digitjax" and len(inner) > 1:
                assert inner[1] in exported(inner[0]), f"{file}: {inner[1]} is private to {inner[0]}"


@pytest.mark.parametrize("library", SEAMS)
def test_each_seam_is_in_one_file(library):
    knowing = {name_of(file) for file in FILES if any(package == library for package, *_ in imports(file))}
    assert knowing == SEAMS[library]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_one_file_prints(file):
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    prints = any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)
    assert not prints or file.name == "terminal.py"


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_what_the_package_offers_is_there_and_the_package_opens_at_once():
    assert not {"jax", "numpy"} & loaded_by("import digitjax")
    import digitjax

    assert set(dir(digitjax)) == {*digitjax.__all__, "__version__"}
    assert all(getattr(digitjax, name) is not None for name in dir(digitjax))


def test_the_command_line_starts_without_jax():
    assert not {"jax", "numpy", "flax", "matplotlib"} & loaded_by("import digitjax.__main__")


def test_training_loads_no_library_that_it_does_not_need():
    slow = {"tensorflow_datasets", "matplotlib", "tensorflow", "cv2", "PIL"}
    assert not slow & loaded_by("import digitjax.training.fit, digitjax.data.datasets")
