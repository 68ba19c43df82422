"""Pre-training alone, scores by a probe in the meantime, weights that ship with the package."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from benchmark import registry
from benchmark.checkpoints import shipped
from benchmark.contracts import Inputs, OptimConfig
from benchmark.data.stream import event_set
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError
from benchmark.runs.config import Request
from benchmark.runs.cost_estimate import duration
from benchmark.runs.execution import Execution
from benchmark.runs.prepared import identify
from benchmark.runs.pretraining_cost import cost_message, shipped_message
from benchmark.runs.resolve import resolve
from benchmark.training.callbacks import Watch
from benchmark.training.config import PretrainConfig
from benchmark.training.fit import Hardware, fit
from benchmark.training.module import Training
from builders.paths import ROOT
from builders.pretraining import alone
from builders.synthetic import execute, request

MIB = 2**20


@pytest.fixture(scope="module")
def stage(data):
    """`train(folder, steps, probe, ...)`: pre-training of a tiny PoLAr-MAE; returns its weights and report."""
    spec = registry.dataset_spec("pilarnet-m")
    config = resolve(request("polarmae"))
    dataset = spec.open(spec.config(), data)
    events = event_set(dataset, "train", config.task, config.preprocess)

    def train(folder, steps, probe=None, every=2, **options):
        torch.manual_seed(0)
        model = registry.model_spec("polarmae").build(
            config.model_config, Inputs(("log_energy",), dataset.info.frame), config.task
        )
        report = fit(
            model, events, PretrainConfig(steps, batch_size=2, checkpoint_every=2), config.pretrain_optim,
            stage="pretrain", seed=0, hardware=Hardware("cpu", "32"), folder=folder, title="t", probe=probe,
            probe_every=every, **options,
        )  # fmt: skip
        return {k: v.numpy().copy() for k, v in model.state_dict().items()}, report

    return train


def meddling(model):
    """A probe that disturbs all it can."""
    was_training = model.training
    model.eval()
    torch.manual_seed(1)
    np.random.seed(1)
    torch.rand(7), np.random.rand(7)
    weight = next(model.parameters())
    return {"was_training": float(was_training), "norm": float(weight.norm()), "nothing": float("nan")}


def test_a_probe_sees_every_stage_of_training_and_changes_nothing(stage, tmp_path):
    plain, quiet = stage(tmp_path / "plain", 5)
    probed, report = stage(tmp_path / "probed", 5, meddling)
    assert [s["step"] for s in report.probe] == [0, 2, 4, 5]
    assert len({s["norm"] for s in report.probe}) == 4
    assert all(s["nothing"] is None for s in report.probe)
    assert quiet.probe == ()
    assert quiet.history == report.history
    for name in plain:
        np.testing.assert_array_equal(plain[name], probed[name], err_msg=name)
    rows = (tmp_path / "probed/csv/from-step-0/metrics.csv").read_text()
    assert "probe/norm" in rows


def test_histories_survive_an_interruption(stage, tmp_path):
    _, whole = stage(tmp_path / "whole", 5, meddling)
    _, stopped = stage(tmp_path / "cut", 5, meddling, deadline=0.0)
    assert stopped.steps == 1
    _, resumed = stage(tmp_path / "cut", 5, meddling)
    assert resumed.resumed_at == 1
    assert list(resumed.probe) == list(whole.probe)
    assert resumed.history == whole.history
    assert resumed.wall_s >= stopped.wall_s > 0


def test_a_history_is_thinned_to_means():
    watch = Watch(1000, "t")
    watch.losses = [float(i) for i in range(1000)]
    watch.series = {"lr": [0.5] * 1000}
    history = watch.history()
    assert history["step"] == list(range(5, 1001, 5))
    assert history["loss"][:2] == [2.0, 7.0]
    assert set(history["lr"]) == {0.5}
    watch.losses = [1.0, 2.0]
    assert watch.history()["loss"] == [1.0, 2.0]


def test_decay_reaches_weights_or_everything(data):
    config = resolve(request("polarmae"))
    dataset = registry.dataset_spec("pilarnet-m").open(config.data, data)
    model = registry.model_spec("polarmae").build(
        config.model_config, Inputs(("log_energy",), dataset.info.frame), config.task
    )
    optim = OptimConfig(decay="everything", weight_decay=0.1)
    groups = Training(model, optim, 5, 0, "finetune", False)._parameter_groups()
    assert {(g["weight_decay"], p.ndim > 1) for g in groups for p in g["params"]} == {(0.1, True), (0.1, False)}
    decays = Training(model, replace(optim, decay="weights"), 5, 0, "finetune", False)._parameter_groups()
    assert {(g["weight_decay"], p.ndim > 1) for g in decays for p in g["params"]} == {(0.1, True), (0.0, False)}


def test_the_weights_of_a_pre_training_are_those_that_a_run_finds(data, tmp_path, own_cache):
    made = alone(data, out=tmp_path / "out" / "polarmae.safetensors")
    assert made.fresh
    assert (made.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    record = made.record
    assert record["steps"] == record["n_steps"] == 3
    assert record["events"] == 8
    assert record["dataset"]["revision"].startswith("v2-")
    assert record["config"]["pretrain"]["steps"] == 3
    assert len(record["history"]["loss"]) == len(record["history"]["lr"]) == 3
    assert {"chamfer", "energy"} <= set(record["history"])
    assert record["environment"]["versions"]["torch"]
    assert json.loads((tmp_path / "out" / "polarmae.json").read_text()) == json.loads(json.dumps(record))
    assert (tmp_path / "out" / "polarmae.safetensors").read_bytes() == (
        made.folder / "weights.safetensors"
    ).read_bytes()
    said = []
    ran = execute(data, tmp_path, request("polarmae")).record
    assert ran.training["pretraining"]["weights_sha256"] == record["weights_sha256"]
    assert len(list((own_cache / "pretrained").iterdir())) == 1
    again = alone(data, say=said.append)
    assert not again.fresh
    assert again.record["created"] == record["created"]
    assert alone(data, force=True).fresh


def test_pre_training_alone_can_be_stopped_and_continued(data, tmp_path, own_cache):
    stopped = alone(data, max_minutes=1e-9, out=tmp_path / "w.safetensors")
    assert stopped.stopped
    assert not (tmp_path / "w.safetensors").exists()
    whole = alone(data, request("polarmae"))
    assert whole.record["resumed_at"] == 1
    assert not list(whole.folder.glob("*.ckpt"))


def test_the_token_probe_scores_a_pre_training_by_labels_of_the_validation_split(data, own_cache, monkeypatch):
    from benchmark.runs import prepared

    splits, original = [], prepared.event_set

    def watched(dataset, split, *rest):
        splits.append(split)
        return original(dataset, split, *rest)

    monkeypatch.setattr(prepared, "event_set", watched)
    record = alone(data, probe_every=2).record
    assert sorted(splits) == ["train", "val"]
    assert record["probe"]["events"] == {"fitted": 1, "scored": 1}
    assert [s["step"] for s in record["probe"]["scores"]] == [0, 2, 3]
    assert all(0 <= s["macro_f1"] <= 1 for s in record["probe"]["scores"])


def test_without_matplotlib_the_weights_are_made_all_the_same(data, own_cache, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = []
    made = alone(data, say=said.append)
    assert (made.folder / "weights.safetensors").is_file()
    assert not (made.folder / "curves.png").exists()
    assert any("the curves are not drawn" in line and "matplotlib" in line for line in said)


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        ("pointnet", {}, r"pointnet has no pre-training.*expected \(panda, pointmae, polarmae"),
        ("polarmae", {"out": Path("weights.pt")}, r"--out weights.pt is not a file for weights.*\.safetensors"),
        ("polarmae", {"probe_every": -1}, "--probe-every -1 is negative"),
    ],
)
def test_what_cannot_be_pre_trained_is_told(data, asked, options, message):
    with pytest.raises(ConfigError, match=message):
        alone(data, request(asked), **options)


def test_weights_of_a_pre_training_hold_backbone_and_decoder_and_no_head(data, tmp_path, own_cache):
    made = alone(data)
    state = load_file(made.folder / "weights.safetensors")
    config = resolve(request("polarmae"))
    dataset = registry.dataset_spec("pilarnet-m").open(config.data, data)
    torch.manual_seed(3)
    model = registry.model_spec("polarmae").build(
        config.model_config, Inputs(("log_energy",), dataset.info.frame), config.task
    )
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    model.load_pretrained(made.folder / "weights.safetensors")
    after = {k: v.numpy() for k, v in model.state_dict().items()}
    assert any(k.startswith("decoder") for k in state)
    assert {k.split(".")[0] for k in set(after) - set(state)} == {"head"}
    for name in after:
        np.testing.assert_array_equal(after[name], state.get(name, before[name]), err_msg=name)
    from safetensors.numpy import save_file

    save_file({k: v for k, v in state.items() if not k.startswith("decoder")}, tmp_path / "half.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks \d+ tensors"):
        model.load_pretrained(tmp_path / "half.safetensors")


@pytest.fixture(scope="module")
def pair(data, tmp_path_factory):
    """A folder with polarmae.safetensors and polarmae.json, made by `pretrain --out` with the tiny preset."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTICLEBENCH_CACHE", str(folder / "cache"))
        alone(data, out=folder / "weights" / "polarmae.safetensors")
    return folder / "weights"


@pytest.fixture
def shipping(pair, tmp_path, monkeypatch, own_cache):
    """The pair as if it were the package's own: a copy that a test may spoil."""
    folder = tmp_path / "weights"
    shutil.copytree(pair, folder)
    monkeypatch.setattr(shipped, "weights_folder", lambda model: folder)
    return folder


def plainly(*assignments, **values):
    """A user's request that says nothing of pre-training."""
    asked = request("polarmae", **values)
    return replace(asked, assignments=("train.steps=4", "preprocess.min_points=0", *assignments))


def test_a_run_starts_from_the_weights_that_ship(shipping, data, tmp_path, own_cache):
    made = json.loads((shipping / "polarmae.json").read_text())
    said = []
    record = execute(data, tmp_path, plainly()).record
    found = record.training["pretraining"]
    assert found["weights"] == "polarmae"
    assert found["weights_sha256"] == made["weights_sha256"]
    assert (found["steps"], found["events"], found["wall_s"]) == (3, 8, made["wall_s"])
    assert found["dataset"] == {"name": "pilarnet-m", "revision": made["dataset"]["revision"]}
    assert found["hardware"]["device"] == "cpu"
    assert record.events["unlabelled"] == 8
    assert record.config["weights"] == {"name": "polarmae", "sha256": made["weights_sha256"]}
    assert record.config["pretrain"] is None
    assert not (own_cache / "pretrained").exists()
    from benchmark.runs.run import run

    execution = Execution(device="cpu", threads=1, data=data, records=tmp_path / "r", runs=tmp_path / "runs")
    run(plainly(mode="frozen"), execution, said.append)
    assert any("pre-trained weights of the package: polarmae" in line and "--pretrain" in line for line in said)
    same = execute(data, tmp_path, plainly(checkpoint=str(shipping / "polarmae.safetensors"))).record
    assert same.metrics == record.metrics


FITTING = [
    plainly(),
    plainly(mode="frozen"),
    plainly(mode="peft"),
    plainly("model.head_dropout=0.3"),
    plainly("model.head_widths=8,8"),
    plainly("optim.lr=0.1"),
    plainly(labels="3"),
    plainly(seed=1),
]
OTHER = [
    plainly(mode="scratch"),
    plainly("model.width=48"),
    plainly("model.mask_ratio=0.5"),
    plainly("model.group_radius=4"),
    plainly("preprocess.energy_min_mev=0.2"),
    plainly(task="lartpc-segmentation-5"),
    plainly(dataset="lartpc-sim"),
    plainly(preset="default"),
    plainly("pretrain.steps=3"),
    plainly("pretrain_optim.lr=0.002"),
    plainly(pretrain=True),
    replace(plainly(), model="pointmae"),
]


@pytest.mark.parametrize("asked", FITTING)
def test_weights_ship_for_every_run_that_pre_training_would_not_tell_apart(shipping, asked):
    config = resolve(asked)
    assert config.weights is not None
    assert config.pretrain is None
    assert config.starts_pretrained


@pytest.mark.parametrize("asked", OTHER)
def test_whatever_pre_training_would_see_makes_new_weights(shipping, asked):
    config = resolve(asked)
    assert config.weights is None
    assert (config.pretrain is None) == (asked.mode == "scratch")


def test_a_given_checkpoint_comes_before_the_weights_that_ship(shipping):
    config = resolve(plainly(checkpoint=str(shipping / "polarmae.safetensors")))
    assert config.weights is None
    assert config.checkpoint_sha256


def test_pre_training_says_what_it_costs_and_how_to_take_the_weights_that_ship(shipping, data, tmp_path, own_cache):
    """On other data than the weights': the estimate is by steps and batch of the pre-training that made them."""
    from benchmark.runs.run import run

    path = shipping / "polarmae.json"
    made = json.loads(path.read_text())
    made["dataset"]["name"] = made["config"]["dataset"] = "lartpc-sim"
    path.write_text(json.dumps({**made, "wall_s": 600.0}))
    said, options = [], {"records": tmp_path / "r", "runs": tmp_path / "runs"}
    execution = Execution(device="cpu", threads=1, data=data, **options)
    few = ("pretrain.steps=6", "pretrain.events=8", "pretrain.batch_size=2")
    run(plainly(*few, pretrain=True), execution, said.append)
    (cost,) = (line for line in said if line.startswith("pre-training polarmae once, 6 steps on 8 unlabelled events"))
    assert f"about {duration(600 * 6 / made['steps'] * 2 / made['config']['pretrain']['batch_size'])}" in cost
    (offer,) = (line for line in said if "--checkpoint shipped" in line)
    assert "differ in the dataset" in offer
    said.clear()
    record = run(plainly(checkpoint="shipped"), execution, said.append).record
    assert not [line for line in said if "pre-training" in line]
    assert record.training["pretraining"]["checkpoint_sha256"] == made["weights_sha256"]
    assert "shipped" in record.command


def test_weights_that_cannot_be_taken_are_not_offered(shipping, own_cache):
    wider = identify(plainly("model.width=48"), "cpu")
    assert shipped_message(wider) == "the package's weights do not fit: they differ in model.width"
    assert "not known" in cost_message(wider, wider.config.pretrain, 8)
    with pytest.raises(CheckpointError, match="No weights ship with volume_mae"):
        resolve(Request("volume_mae", "lif-segmentation", checkpoint="shipped"))


@pytest.mark.parametrize("values", [{"mode": "scratch"}, {"model": "pointnet"}, {"checkpoint": "w.safetensors"}])
def test_pre_training_is_not_asked_for_where_there_is_none(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("w.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"--pretrain and .* exclude each other"):
        resolve(replace(plainly(), pretrain=True, **values))


def test_the_fingerprint_of_a_run_holds_the_weights_that_ship(shipping):
    from benchmark.runs.fingerprint import fingerprint

    def name(asked):
        return fingerprint(resolve(asked), "v2", "c", "cpu", "32")

    first = name(plainly())
    about = json.loads((shipping / "polarmae.json").read_text())
    (shipping / "polarmae.json").write_text(json.dumps({**about, "wall_s": 1.0}))
    assert name(plainly()) == first
    (shipping / "polarmae.json").write_text(json.dumps({**about, "weights_sha256": "0" * 64}))
    assert len({first, name(plainly()), name(plainly(pretrain=True))}) == 3


@pytest.mark.parametrize("damage", ["cut", "gone", "record"])
def test_damaged_weights_that_ship_are_one_sentence(shipping, data, tmp_path, damage):
    weights = shipping / "polarmae.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-8] + b"\0" * 8)
    elif damage == "gone":
        weights.unlink()
    else:
        (shipping / "polarmae.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"damaged.*expected.*--pretrain"):
        execute(data, tmp_path, plainly())
    execute(data, tmp_path, plainly("pretrain.steps=1"))  # what the message says helps


def test_the_user_is_told_why_the_weights_that_ship_do_not_serve(shipping, data, tmp_path):
    from benchmark.runs.run import run

    said = []
    execution = Execution(device="cpu", threads=1, data=data, records=tmp_path / "r", runs=tmp_path / "runs")
    asked = plainly("model.mask_ratio=0.5", "pretrain.steps=2", "pretrain.events=4")
    run(asked, execution, said.append)
    assert any("weights do not fit: they differ in model.mask_ratio" in line for line in said)


PAIRS = sorted((ROOT / "models" / "weights").glob("*.json"))


@pytest.mark.skipif(not PAIRS, reason="no weights in models/weights yet")
def test_the_weights_of_the_project_fit_what_a_newcomer_types_and_are_small():
    total = sum(p.stat().st_size for p in (ROOT / "models" / "weights").iterdir())
    assert total <= 12 * MIB
    for about in PAIRS:
        config = resolve(replace(request(), model=about.stem, preset="default", dataset="lartpc-sim", assignments=()))
        assert config.weights is not None, f"{about.stem} would pre-train although {about} ships"
        assert config.weights.checked().is_file()
        record = config.weights.record
        preset = resolve(
            replace(request(), model=about.stem, preset="default", dataset="lartpc-sim", assignments=(), pretrain=True)
        )
        assert record["config"]["pretrain"]["steps"] == preset.pretrain.steps, "--pretrain would not make them anew"
        assert len(record["history"]["step"]) <= 200
        assert record["steps"] == record["n_steps"]


def test_probe_failures_are_told(stage, tmp_path):
    def broken(model):
        raise BenchmarkError("The probe has no events. Some were expected. Leave it out.")

    with pytest.raises(BenchmarkError, match="The probe has no events"):
        stage(tmp_path, 3, broken)
