"""`display` shows an event of every detector and task, with units, as picture and as page."""

import json
import re

import numpy as np
import pytest

from benchmark import registry, tasks
from benchmark.cli import main
from builders import calo_files, lif_files
from builders.synthetic import make_data

DATASETS = {"lartpc": "pilarnet-m", "calorimeter": "atlas-pions", "lif": "lif-scans"}
EVERY = [(t.detector, t.name) for t in tasks.TASKS.values() if not t.self_supervised or t.level == "token"]
CHAIN = [part for name, value in lif_files.CHAIN.items() for part in ("--set", f"data.{name}={value}".replace(" ", ""))]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A command that shows the first training event of a detector."""
    root, rng = tmp_path_factory.mktemp("display"), np.random.default_rng(7)
    sizes = {"train": 12, "val": 6, "test": 8}
    folders = {
        "lartpc": make_data(root), "lif": lif_files.write_folder(root / "lif", scans=("a", "b", "c")),
        "calorimeter": calo_files.write_folder(root / "calo", rng, calo_files.make_geometry(rng), sizes),
    }  # fmt: skip

    def show(detector, out, *more):
        chain = CHAIN if detector == "lif" else []
        where = ["--dataset", DATASETS[detector], "--data", str(folders[detector]), "--split", "train"]
        main(["display", *where, "--out", str(out), *chain, *more])

    return show


@pytest.mark.parametrize(("detector", "task"), EVERY)
def test_every_task_of_every_detector_is_shown_with_units(detector, task, shown, tmp_path):
    shown(detector, tmp_path / "event.html", "--task", task)
    values = json.loads(re.search(r"PB\.single=(.*);\n", (tmp_path / "event.html").read_text())[1])
    unit = registry.dataset_spec(DATASETS[detector]).info.energy_unit
    assert values["energy"] and values["unit"] and values["energyUnit"] == unit
    assert len(values["colours"]) == len(values["classes"])


@pytest.mark.parametrize("detector", DATASETS)
def test_the_default_task_of_every_detector_is_drawn(detector, shown, tmp_path):
    shown(detector, tmp_path / "event.png")
    assert (tmp_path / "event.png").read_bytes().startswith(b"\x89PNG")


def test_a_task_without_classes_and_values_is_refused_in_one_sentence(shown, tmp_path, capsys):
    with pytest.raises(SystemExit):
        shown("lif", tmp_path / "event.png", "--task", "lif-reconstruction")
    assert "lif-reconstruction has no classes or values to show" in capsys.readouterr().err
