"""The notebook runs from top to bottom, and what is stored in it is what it gives."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from digitjax.data.tfds import LOCAL_MNIST

TOUR = Path(__file__).parent.parent.parent / "experiments" / "tour.ipynb"


def pictures(notebook: nbformat.NotebookNode) -> list[int]:
    """How many pictures each cell shows."""
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    return [sum("image/png" in output.get("data", {}) for output in shown) for shown in outputs]


@pytest.mark.slow
def test_the_tour_runs_and_shows_a_picture_wherever_one_is_stored(monkeypatch):
    monkeypatch.delenv(LOCAL_MNIST, raising=False)  # mnist5k will do, and takes a tenth of the time
    stored = nbformat.read(TOUR, as_version=4)
    # An output that comes late is dropped without a word after 4 seconds, unless nbclient is told to wait for it.
    waiting = {"timeout": 600, "startup_timeout": 300, "iopub_timeout": 120, "raise_on_iopub_timeout": True}
    ran = NotebookClient(nbformat.read(TOUR, as_version=4), **waiting).execute()
    assert pictures(ran) == pictures(stored)
    assert sum(pictures(ran)) >= 8
    text = "".join(str(output.get("text", "")) for cell in ran.cells for output in cell.get("outputs", []))
    accuracy = float(text.split("accuracy   ")[1].split()[0])
    assert accuracy > 0.9
