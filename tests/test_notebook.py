"""The tour runs from its first cell to its last, in an empty folder."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).parents[1] / "notebooks" / "tour.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of zmq and asyncio
def test_the_tour_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    training = next(cell for cell in notebook.cells if "EPOCHS, SCENES = 10, 150" in cell.source)
    training.source = training.source.replace("10, 150", "1, 22")  # two minutes are too long for a test
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert number_of_images(notebook) == 4


def test_the_tour_shows_its_images() -> None:
    assert number_of_images(nbformat.read(TOUR, as_version=4)) == 4


def number_of_images(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not any(output.output_type == "error" for output in outputs)
    return sum("image/png" in output.get("data", {}) for output in outputs)
