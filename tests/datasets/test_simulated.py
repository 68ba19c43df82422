"""Folders of simulated data: a file that was changed afterwards is refused, whatever the detector."""

import hashlib
import json
import shutil

import pytest

from benchmark.datasets import _simulated
from benchmark.datasets._folders import check_folder, read_manifest
from benchmark.datasets.larsim.plan import Plan
from benchmark.datasets.larsim.production import SIMULATION
from benchmark.errors import DataError
from benchmark.registry import dataset_spec
from builders.tiny_datasets import make


@pytest.mark.parametrize("name", ["calo-sim", "lartpc-sim", "lif-sim"])
def test_a_changed_file_is_refused_and_named(name, tmp_path):
    made = make(name, tmp_path / "first")
    folder = tmp_path / "copy"
    shutil.copytree(made.folder, folder)
    assert made.again(folder).revision == made.dataset.revision
    path = max((p for p in folder.rglob("*") if p.is_file() and "test" in str(p)), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name} has been changed since it was simulated.*expected\. Delete"):
        made.again(folder)


CHANGES = {
    "another seed": lambda m: {**m, "seed": 7},
    "another revision": lambda m: {**m, "revision": "sim-000000000000"},
    "a setting less": lambda m: {k: v for k, v in m.items() if k != "seed"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_manifest_whose_name_and_settings_differ_is_refused(change, tmp_path):
    made = make("lartpc-sim", tmp_path)
    path = made.folder / "simulation.json"
    path.write_text(json.dumps(CHANGES[change](json.loads(path.read_text()))))
    with pytest.raises(DataError, match=r"simulation.json has been changed.*expected\. Delete"):
        made.again()


OUTSIDE = ("../a.h5", "test/../../a.h5", "..", "/etc/passwd", "a\0b.h5", "test/\0", "a\nb.h5", "\u202ea.h5", "")


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("dataset", ["calo-sim", "lartpc-sim", "lif-sim"])
def test_a_name_that_leaves_its_folder_is_refused_before_anything_is_opened(dataset, name, tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"of somebody else")
    folder = tmp_path / "made"
    folder.mkdir()
    files = {name: hashlib.sha256(b"of somebody else").hexdigest()}
    (folder / "simulation.json").write_text(json.dumps({"revision": "sim-0", "files": files}))
    monkeypatch.setattr(_simulated, "file_digest", lambda path: pytest.fail(f"{path} was opened"))
    spec = dataset_spec(dataset)
    message = r"simulation\.json lists no files .* Names inside its folder were expected\. Give"
    with pytest.raises(DataError, match=message) as error:
        spec.open(spec.config(), folder)
    assert str(error.value).isprintable()


WRONG = ["[" * 100_000, '{"files": {"../a.h5": "0"}}', '{"files": {"a": 1}}', '{"files": []}', "[1]", "\ufeff", "\0"]


@pytest.mark.parametrize("text", WRONG)
def test_a_damaged_manifest_or_plan_is_one_sentence(tmp_path, text):
    (tmp_path / ".work").mkdir()
    for path in (tmp_path / "simulation.json", tmp_path / ".work" / "plan.json"):
        path.write_text(text)
    with pytest.raises(DataError, match=r"simulation.json (cannot be read|lists no|is no).* expected\. ") as error:
        read_manifest(tmp_path)
    assert str(error.value).isprintable()
    (tmp_path / "simulation.json").unlink()
    plan = Plan({"train": 2}, seed=1)
    if "files" not in text:
        with pytest.raises(DataError, match=r"plan.json (cannot be read|is no).* expected\. Give a folder"):
            check_folder(plan.describe(), SIMULATION.content, tmp_path)
