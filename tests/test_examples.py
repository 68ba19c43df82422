"""The notebooks run from top to bottom, in a folder and a cache of their own, and are committed without outputs."""

import json
import os

import pytest

from builders.paths import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
CELL_S = 600  # a cell that takes longer hangs


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder like the root of the project, in whose `examples` a notebook runs."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "leaderboards").symlink_to(ROOT / "leaderboards")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("PARTICLEBENCH_RECORDS", raising=False)
    return tmp_path


def test_the_notebooks_are_those_of_the_pages():
    assert [path.stem for path in NOTEBOOKS] == ["bring_your_own_model", "first_run"]
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert all(f"../examples/{path.name}" in page for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_committed_without_outputs(path):
    """Numbers and pictures age with every change of the code; those that a reader makes do not."""
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_from_top_to_bottom(path, checkout):
    reason = "the package is not installed; the extra `test` brings it"
    nbformat = pytest.importorskip("nbformat", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    book = nbformat.read(path, as_version=4)
    folder = checkout / "examples"
    where = {"metadata": {"path": folder}}
    nbclient.NotebookClient(book, timeout=CELL_S, kernel_name="python3", resources=where).execute()
    shown = [output for cell in book.cells for output in cell.get("outputs", ())]
    values = [output["data"] for output in shown if "data" in output]
    assert all(output["output_type"] != "error" for output in shown)
    assert list((folder / "runs" / "records").rglob("*.json"))
    if path.stem == "first_run":
        assert sum("image/png" in data for data in values) == 3
        assert any("text/html" in data and "michel" in data["text/html"] for data in values)  # the table of a run
    else:
        assert values[-1]["text/plain"] == "True"
