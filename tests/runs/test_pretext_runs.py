"""Pretexts in whole commands: stopped and continued, probed, by path and by plug-in, and what is refused."""

import dataclasses
import importlib.metadata
import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmark import registry
from benchmark.checkpoints.load import open_checkpoint
from benchmark.cli import main
from benchmark.contracts.pretext import HIDDEN
from benchmark.contracts.safetensors_io import read_safetensors, write_safetensors
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError
from benchmark.records.store import read_records
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import resolve
from benchmark.runs.sweep_file import read_sweep
from benchmark.runs.transfer import Target, evaluate_checkpoint
from builders.pilarnet_files import make_events, write_folder
from builders.pretraining import alone
from builders.synthetic import PRETRAINED, execute, request

PRETEXTS = registry.pretext_names()
OURS = '''
"""A pretext of one's own: the energy column of each point, from its features."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmark.contracts.parts import Views
from benchmark.contracts.pretext import HIDDEN, PretextPreset, PretextSpec
from benchmark.contracts.pretext_training import Pretext


@dataclass(frozen=True)
class Config:
    """Nothing."""


class Energy(Pretext):
    def __init__(self, config, model, inputs):
        super().__init__()
        self.map = torch.nn.Linear(model.feature_width, 1)

    def loss(self, model, batch, progress):
        error = self.map(model.point_features(batch)) - batch.views.targets
        return error.square().mean(), {"error": error.abs().mean()}


def make_views(config, batch, progress, rngs, rescale=None):
    zeros = np.zeros((batch.n_points, 1), np.float32)
    return replace(
        batch.without_target(), feats=np.concatenate([batch.feats, zeros], axis=1), columns=(*batch.columns, HIDDEN),
        views=Views(batch.coords, zeros[:, 0] > 0, batch.feats[:, :1], np.arange(batch.n_events)),
    )


SPEC = PretextSpec(
    name="NAME", summary="Energy of points", config=Config, build=Energy, make_views=make_views,
    presets={"default": PretextPreset(), "tiny": PretextPreset()},
)
'''


def ask(pretext, *assignments, model="pointnet", **values):
    asked = request(model, *PRETRAINED[2:], *assignments, **values)
    return dataclasses.replace(asked, pretext=str(pretext))


@pytest.fixture
def ours(tmp_path):
    path = tmp_path / "energy_of_points.py"
    path.write_text(OURS.replace("NAME", "energy_of_points"))
    return path


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_a_stopped_pre_training_continues_to_the_same_bits(data, tmp_path, monkeypatch, pretext):
    weights = {}
    for name in ("whole", "cut"):
        monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / name))
        if name == "cut":
            assert alone(data, ask(pretext), max_minutes=1e-9).stopped
        made = alone(data, ask(pretext))
        assert made.record["resumed_at"] == (name == "cut")
        weights[name] = load_file(made.weights)
    assert set(weights["whole"]) == set(weights["cut"])
    for key, value in weights["whole"].items():
        np.testing.assert_array_equal(value, weights["cut"][key], err_msg=key)


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_a_run_says_backbone_and_pretext_and_scores_like_any_other(data, tmp_path, own_cache, pretext):
    record = execute(data, tmp_path, ask(pretext)).record
    assert record.status == "finished" and record.method == f"pointnet+{pretext}"
    assert record.config["mode"] == "fft" and record.config["pretext"] == pretext
    assert record.events["unlabelled"] == 8
    assert record.training["pretraining"]["n_steps"] == 3
    (folder,) = (own_cache / "pretrained").iterdir()
    assert folder.name.startswith(f"pointnet+{pretext}-")
    training = json.loads((folder / "training.json").read_text())
    assert training["config"]["pretext"] == pretext and set(training["config"]["pretext_config"])
    plain = execute(data, tmp_path, request("pointnet")).record
    assert plain.fingerprint != record.fingerprint and "pretext" not in plain.config
    (made,) = (path for path in (tmp_path / "runs").rglob("model.safetensors") if pretext in path.parent.name)
    assert open_checkpoint(made).manifest.pretext == pretext
    scored = evaluate_checkpoint(
        open_checkpoint(made), Target("pilarnet-m", "test"),
        Execution(device="cpu", threads=1, data=data, records=tmp_path / "evaluated"),
    )  # fmt: skip
    assert scored.method == record.method and scored.metrics == record.metrics


def test_settings_and_seeds_of_a_pretext_are_another_result(own_cache):
    from benchmark.runs.prepared import identify

    asked = (ask("masked"), ask("masked", "pretext.cube=6"), ask("masked", seed=1), ask("masked", "pretrain.steps=2"))
    assert len({identify(a, "cpu").pretraining_fingerprints("r")[0] for a in asked}) == len(asked)


def test_the_probe_of_points_reads_the_validation_split_alone(tmp_path, own_cache, monkeypatch):
    from benchmark.runs import prepared

    rng = np.random.default_rng(3)
    sizes = {"train": 5, "val": 7, "test": 2}
    data = write_folder(tmp_path / "data", {split: make_events(rng, n) for split, n in sizes.items()})
    splits, original = [], prepared.event_set

    def watched(dataset, split, *rest):
        splits.append(split)
        return original(dataset, split, *rest)

    monkeypatch.setattr(prepared, "event_set", watched)
    probed = alone(data, ask("masked"), probe_every=2)
    assert sorted(splits) == ["train", "val"]
    found = probed.record["probe"]
    assert found["of"] == "points" and found["split"] == "val"
    assert found["events"] == {"fitted": 3, "chosen_on": 2, "scored": 2}
    assert [s["step"] for s in found["scores"]] == [0, 2, 3]
    assert all(0 <= s["macro_f1"] <= 1 and s["c"] in found["settings"]["c"] for s in found["scores"])
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "quiet"))
    assert alone(data, ask("masked")).record["weights_sha256"] is not None
    quiet = load_file(alone(data, ask("masked")).weights)
    for key, value in load_file(probed.weights).items():
        np.testing.assert_array_equal(value, quiet[key], err_msg=key)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (ask("masked", model="energy_threshold"), r"does not fit energy_threshold, which has no features of "
         r"points.*expected \(.*gnn.*Leave --pretext out, or correct --model"),
        (ask("masked", model="polarmae"), r"does not fit polarmae, which has a self-supervised stage of its own"),
        (ask("masked", mode="scratch"), r"masked and --mode scratch.*exclude each other.*Leave --pretext out"),
        (ask("maskd"), r"maskd.*Did you mean 'masked'.*list pretexts"),
        (ask("nowhere.py"), r"There is no file nowhere.py.*Python file that binds SPEC"),
        (ask("masked", model="gnn", task="lif-segmentation", dataset="lif-sim"), r"trains features of points, and "
         r"lif-segmentation is about volumes.*Leave --pretext out, or correct --task"),
        (ask("masked", "pretext.cube=0"), r"cube=0.0.*is not possible"),
        (ask("masked", "pretext.cub=3"), r"cub.*Did you mean 'cube'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_sentence(asked, message):
    with pytest.raises(BenchmarkError, match=message) as error:
        resolve(asked)
    assert "\n" not in str(error.value)


def test_events_have_no_classes_of_points_to_probe(data):
    asked = dataclasses.replace(
        ask("masked", model="gnn"), task="pion-classification", dataset="calo-sim", assignments=()
    )
    with pytest.raises(
        ConfigError, match=r"--probe-every 5 reads the classes of points or tokens.*Leave --probe-every"
    ):
        alone(data, asked, probe_every=5)


def test_a_pretext_in_a_file_is_one_by_its_path(data, tmp_path, own_cache, ours):
    record = execute(data, tmp_path, ask(ours)).record
    assert record.status == "finished" and record.config["pretext"] == "energy_of_points"
    assert record.method == "pointnet+energy_of_points"
    before = record.fingerprint
    ours.write_text(ours.read_text() + "\n# another\n")
    assert execute(data, tmp_path, ask(ours)).record.fingerprint != before


def test_a_file_of_code_is_named_on_the_command_line_alone(data, tmp_path, own_cache, ours):
    sweep = tmp_path / "sweep.toml"
    for entry in (f"pointnet+{ours}", f"pointnet+{ours}:frozen", f"{ours}+masked", f"{ours}+masked:frozen"):
        sweep.write_text(f'models = ["{entry}"]\n')
        with pytest.raises(ConfigError, match=r"names the file.*A name of the registry was expected"):
            read_sweep(sweep)
    ours.write_text(ours.read_text() + "\nraise SystemExit('code of a record was run')\n")
    execute(data, tmp_path, ask("masked"))
    (stored,) = (tmp_path / "records").rglob("*.json")
    stored.write_text(stored.read_text().replace('"pretext": "masked"', f'"pretext": "{ours}"'))
    assert read_records(tmp_path / "records")[0] == []
    (weights,) = (tmp_path / "runs").rglob("model.safetensors")
    state, metadata = read_safetensors(weights)
    write_safetensors(tmp_path / "changed.safetensors", state, {**metadata, "pretext": str(ours)})
    with pytest.raises(CheckpointError, match="a checkpoint may only name a model or pretext"):
        open_checkpoint(tmp_path / "changed.safetensors")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that offers the pretexts `theirs` and, under a name of the suite, `masked`."""
    package = tmp_path / "packages" / "their_pretexts"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "theirs.py").write_text(OURS.replace("NAME", "theirs"))
    points = [
        importlib.metadata.EntryPoint(name, "their_pretexts.theirs", registry.PRETEXT_PLUGINS)
        for name in ("theirs", "masked")
    ]
    monkeypatch.syspath_prepend(str(package.parent))
    real = importlib.metadata.entry_points
    monkeypatch.setattr(
        registry.metadata, "entry_points",
        lambda **k: points if k.get("group") == registry.PRETEXT_PLUGINS else real(**k),
    )  # fmt: skip
    registry._plugins.cache_clear()
    yield package
    registry._plugins.cache_clear()


def test_an_installed_pretext_is_one_by_name(installed, data, tmp_path, own_cache, capsys):
    assert registry.pretext_names(registry.PRETEXT_PLUGINS) == ["theirs"]
    assert registry.pretext_file("masked").parent.name == "pretexts"
    main(["list", "pretexts", "--json"])
    rows = json.loads(capsys.readouterr().out)["pretexts"]
    assert {row["name"] for row in rows} == {*PRETEXTS, "theirs"}
    assert sum("which is a pretext of the suite" in json.dumps(row) for row in rows) == 1
    assert alone(data, ask("theirs")).record["config"]["pretext"] == "theirs"


def test_the_list_of_pretexts_says_what_each_is(capsys):
    main(["list", "pretexts"])
    shown = capsys.readouterr().out
    assert all(re.search(rf"^\W*{name}\b", shown, re.MULTILINE) for name in PRETEXTS)
    assert HIDDEN not in registry.pretext_names()


@pytest.mark.parametrize(
    ("model", "task", "mode", "other"),
    [
        ("pointnet", "lartpc-segmentation", "peft", "frozen"),
        ("gnn", "cell-to-track", "peft", "frozen"),
        ("ptv3", "pion-classification", "frozen", "peft"),
        ("pointnet", "pion-regression", "frozen", "peft"),
    ],
)
def test_a_mode_that_is_not_what_it_says_is_refused_and_the_other_one_is_named(model, task, mode, other):
    from benchmark.runs.prepared import identify

    dataset = "pilarnet-m" if task.startswith("lartpc") else "calo-sim"
    asked = Request(model, task, dataset, preset="tiny", mode=mode, pretext="masked")
    with pytest.raises(ConfigError, match=rf"--mode {mode} trains.*Type --mode {other}\."):
        identify(asked, "cpu")
    assert identify(dataclasses.replace(asked, mode=other), "cpu").config.mode == other


@pytest.mark.parametrize("mode", ["peft", "frozen"])
def test_models_that_change_their_head_by_mode_do_both(mode):
    from benchmark.runs.prepared import identify

    for task, dataset in (("lartpc-segmentation", "pilarnet-m"), ("pion-classification", "calo-sim")):
        asked = Request("transformer", task, dataset, preset="tiny", mode=mode, pretext="masked")
        assert identify(asked, "cpu").config.mode == mode


def test_weights_serve_runs_of_their_own_pretext_and_settings(data, tmp_path, own_cache):
    weights = tmp_path / "weights.safetensors"
    alone(data, ask("masked", model="gnn"), out=weights)
    start = ask("masked", "train.steps=1", model="gnn", checkpoint=str(weights))
    record = execute(data, tmp_path, start).record
    assert record.training["pretraining"]["stage"] == "pretrain"
    with pytest.raises(CheckpointError, match=r"checkpoint of gnn\+masked.*gnn\+contrast.*Type --pretext masked"):
        execute(data, tmp_path, dataclasses.replace(start, pretext="contrast"))
    for setting, told in (("k=3", "k=4 and not 3"), ("unit=7", "unit=0.0 and not 7.0"), ("radius=9", "radius=4.0")):
        other = dataclasses.replace(start, assignments=(*start.assignments, f"model.{setting}"))
        with pytest.raises(CheckpointError, match=rf"made with model\.{told}.*Type --preset tiny"):
            execute(data, tmp_path, other)
    with pytest.raises(CheckpointError, match=r"no trained head.*run --model gnn --pretext masked --checkpoint"):
        open_checkpoint(weights).require_head()
    with pytest.raises(ConfigError, match=r"one with --pretext"):
        execute(data, tmp_path, request("gnn", checkpoint=str(weights)))


def test_jobs_of_a_sweep_are_told_apart_by_pretext(data, own_cache):
    from benchmark.runs.sweep import Sweep, plan

    models = ("pointnet", *(f"pointnet+{pretext}" for pretext in PRETEXTS))
    sweep = Sweep(models, labels=("6",), dataset="pilarnet-m", preset="tiny", settings=("preprocess.min_points=0",))
    names = [job.name for job in plan(sweep, Execution(device="cpu", threads=1, data=data))]
    assert len(set(names)) == len(models)
