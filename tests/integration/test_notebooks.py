"""The notebooks run as they are, hold no output, and do nothing but call functions."""

import ast
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from servers import ROOT, eventually, processes_of

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.For, ast.While, ast.Try)


@pytest.fixture(scope="module")
def example_home() -> Iterator[Path]:
    """A home that all notebooks share: the first makes the example, the others find it."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-", dir="/tmp"))
    yield folder
    gone = eventually(lambda: not processes_of(folder))
    left = processes_of(folder)
    shutil.rmtree(folder)
    assert gone, left


def test_there_are_notebooks() -> None:
    assert {"01_phase1", "02_phase2", "03_scaling_law", "04_ensemble"} == {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_the_first_cell_to_the_last(
    path: Path, example_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_HOME", str(example_home))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # A kernel that was installed for the user may be of another Python.
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=400, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert any(outputs[-1:]), "the last cell shows nothing"
    # Libraries may warn on standard error of what a kernel has not, such as widgets.
    assert [output.text for each in outputs for output in each if output.get("name") == "stdout"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_output_and_no_logic(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert len(path.read_bytes()) < 20_000
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, LOGIC)]
