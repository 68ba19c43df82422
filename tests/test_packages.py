"""Optional packages: one remedy each, the same everywhere, and what needs one is listed without it."""

import re
import subprocess
import sys

import pytest

from benchmark import packages
from benchmark.cli.listing import _rows
from benchmark.errors import MissingPackageError
from benchmark.hardware.available import backends
from benchmark.registry import model_spec
from benchmark.runs.config import Request
from benchmark.runs.prepared import identify
from builders.paths import ROOT

EXTRAS = ("hub", "cluster", "graphs", "root", "tune", "volumes")


@pytest.fixture
def nothing_optional(monkeypatch):
    monkeypatch.setattr("benchmark.packages.find_spec", lambda name: None)


def requirements_of_extras():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = [re.search(rf"^{name} = \[(.*?)\]", text, re.MULTILINE)[1] for name in EXTRAS]
    return {requirement for line in lines for requirement in re.findall(r'"(.*?)"', line)}


def test_remedies_have_the_bounds_of_the_extras():
    assert requirements_of_extras() <= set(packages.REQUIREMENTS.values())


def test_no_remedy_names_this_project_which_no_index_has():
    for folder in ("benchmark", "models", "baselines", "datasets"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert "particlebench[" not in path.read_text(encoding="utf-8"), path


def test_every_command_tells_the_same_remedy(nothing_optional):
    reason = "the package torch_geometric is missing: pip install 'torch-geometric>=2.6,<3'"
    assert {b.name: b.available() for b in backends()}["torch_geometric"] == reason
    (row,) = (row for row in _rows("baselines") if row["name"] == "gnn")
    assert row["here"] == reason and "tiny" in row["presets"] and "lartpc-segmentation" in row["tasks"]
    with pytest.raises(Exception, match=re.escape(reason)):
        identify(Request("gnn"), "cpu")
    with pytest.raises(MissingPackageError, match=re.escape(reason.split(": ")[1])):
        model_spec("gnn").build_model(None, None, None)


def test_a_model_is_described_without_its_package():
    code = "import sys; sys.modules['torch_geometric'] = None; from benchmark.registry import model_spec as m; " + (
        "print(*m('gnn').presets)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["default", "tiny", "paper"], done.stderr
