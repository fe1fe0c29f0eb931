"""The house stands as the README draws it: imports run one way, and each seam is in one file."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "digitjax"
SEAMS = {
    "flax": {"model.py"},
    "orbax": {"checkpoint.py"},
    "tensorflow_datasets": {"prepare.py"},
    "matplotlib": {"plots.py"},
    "tyro": {"options.py"},
    "rich": {"__main__.py"},
    "litestar": set(),
}


def rows() -> dict[str, int]:
    """File by row, as drawn in the README's Design."""
    drawn = re.findall(r"^ {4}(?:row (\d+))? +(\w+\.py) ", (ROOT / "README.md").read_text(), re.MULTILINE)
    found, row = {}, -1
    for number, file in drawn:
        row = int(number) if number else row
        found[file] = row
    return found


def imports(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "digitjax":
                names |= {f"digitjax.{alias.name}" for alias in node.names}
    return names


FILES = sorted(file for file in PACKAGE.glob("*.py") if file.name != "__init__.py")


def test_the_readme_draws_every_file():
    assert set(rows()) == {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_imports_only_from_rows_above_its_own(file):
    drawn = rows()
    for name in imports(file):
        package, _, module = name.partition(".")
        assert package not in {"serve", "experiments", "tests"}
        if package == "digitjax" and module:
            assert drawn[f"{module}.py"] < drawn[file.name], f"{file.name} imports {name}"


@pytest.mark.parametrize("library", SEAMS)
def test_each_seam_is_in_one_file(library):
    knowing = {file.name for file in FILES if any(name.split(".")[0] == library for name in imports(file))}
    assert knowing == SEAMS[library]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_only_the_command_line_prints(file):
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    prints = any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)
    assert not prints or file.name == "__main__.py"


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_command_line_starts_without_jax():
    assert not {"jax", "numpy", "flax", "matplotlib"} & loaded_by("import digitjax.__main__")


def test_training_loads_no_library_that_it_does_not_need():
    slow = {"tensorflow_datasets", "matplotlib", "tensorflow", "cv2", "PIL"}
    assert not slow & loaded_by("import digitjax.fit, digitjax.data")
