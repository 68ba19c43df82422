"""From what the user typed to a resolved configuration, and its names."""

import dataclasses
import json

import numpy as np
import pytest

from benchmark import registry, tasks
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError, UnknownNameError
from benchmark.runs.config import Request
from benchmark.runs.fingerprint import Identity, fingerprint
from benchmark.runs.resolve import can_do, data_assignments, resolve
from benchmark.settings import as_dict
from builders.models import models


def request(model="polarmae", *assignments, **values):
    return Request(model, dataset="pilarnet-m", assignments=assignments, **values)


def test_a_preset_wins_over_defaults_and_the_user_over_the_preset():
    spec = registry.model_spec("pointnet")
    plain, tiny = resolve(request("pointnet")), resolve(request("pointnet", preset="tiny"))
    assert plain.model_config == spec.config()
    assert tiny.model_config.wide == spec.presets["tiny"].model["wide"] != spec.config().wide
    assert tiny.optim.lr == spec.presets["tiny"].optim["lr"]
    chosen = resolve(request("pointnet", "model.wide=4,8", "optim.lr=0.5", "train.steps=3", preset="tiny"))
    assert (chosen.model_config.wide, chosen.optim.lr, chosen.train.steps) == ((4, 8), 0.5, 3)
    assert chosen.model_config.head == tiny.model_config.head


def test_numbers_may_be_numbers_or_their_text():
    given, typed = resolve(request("pointnet", labels=20, draw=np.int64(1))), resolve(request("pointnet", labels="20"))
    assert given.labels == typed.labels == 20
    assert type(given.draw) is int
    assert json.dumps(given.as_dict()) == json.dumps({**typed.as_dict(), "draw": 1})
    for name, value in (("labels", 1.5), ("draw", "1"), ("seed", None), ("seed", 0.5)):
        with pytest.raises(ConfigError, match=rf"--{name} .*expected"):
            resolve(request("pointnet", **{name: value}))


@pytest.mark.parametrize("task", [t for t in tasks.TASKS.values() if t.level != "token"], ids=lambda t: t.name)
def test_the_rule_of_training_is_the_same_for_every_model(task):
    able = [p.values[0] for p in models(lambda spec: can_do(spec, task)) if not p.marks]  # without those skipped
    configs = [resolve(Request(name, task.name)) for name in able]
    assert len({c.train for c in configs}) == 1
    assert len({json.dumps(as_dict(c.preprocess)) for c in configs}) == 1
    assert len({c.task.loss for c in configs}) == 1
    assert len(able) > (2 if task.self_supervised else 10)


def test_a_short_key_works_where_only_one_section_has_it():
    assert resolve(request("pointnet", "min_points=3")).preprocess.min_points == 3


def test_an_ambiguous_short_key_names_the_choices():
    with pytest.raises(ConfigError, match=r"--set steps means several settings\. One of train\.steps, pretrain\.steps"):
        resolve(request("polarmae", "steps=3"))
    assert resolve(request("pointnet", "steps=3")).train.steps == 3


@pytest.mark.parametrize(
    ("assignment", "hint"),
    [
        ("modle.depth=3", "Did you mean 'model'?"),
        ("train.stepz=3", "Did you mean 'steps'?"),
        ("min_point=3", "Did you mean 'min_points'?"),
    ],
)
def test_misspelt_settings_get_the_close_name(assignment, hint):
    with pytest.raises(UnknownNameError) as error:
        resolve(request("pointnet", assignment))
    assert hint in str(error.value)
    assert "Expected one of" in str(error.value)


def test_settings_of_a_stage_that_does_not_happen_are_refused():
    with pytest.raises(UnknownNameError, match="no section of settings 'pretrain'"):
        resolve(request("pointnet", "pretrain.steps=3"))
    with pytest.raises(UnknownNameError, match="no section of settings 'pretrain'"):
        resolve(request("polarmae", "pretrain.steps=3", mode="scratch"))


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"model": "polarmea"}, "There is no model 'polarmea'. Did you mean 'polarmae'?"),
        ({"model": "pointnet", "preset": "tinny"}, "Did you mean 'tiny'?"),
        ({"model": "pointnet", "task": "lartpc-segmentatoin"}, "Did you mean 'lartpc-segmentation'?"),
        ({"model": "pointnet", "dataset": "pilarnet"}, "Did you mean 'pilarnet-m'?"),
        ({"model": "polarmae", "mode": "ftt"}, "Did you mean 'fft'?"),
    ],
)
def test_misspelt_names_get_the_close_one(values, hint):
    with pytest.raises(UnknownNameError) as error:
        resolve(Request(**{"dataset": "pilarnet-m", **values}))
    assert hint in str(error.value)
    assert "Expected one of" in str(error.value)


def test_underscores_and_hyphens_are_the_same():
    config = resolve(Request("pointnet", task="lartpc_segmentation", dataset="pilarnet_m"))
    assert (config.task.name, config.dataset) == ("lartpc-segmentation", "pilarnet-m")


def test_modes():
    assert resolve(request("polarmae")).mode == "fft"
    assert resolve(request("pointnet")).mode == "scratch"
    assert resolve(request("polarmae", mode="scratch")).pretrain is None
    assert resolve(request("polarmae", mode="frozen")).pretrain is not None
    with pytest.raises(
        ConfigError, match=r"--mode fft needs pre-training, which pointnet does not have.*or leave --mode out"
    ):
        resolve(request("pointnet", mode="fft"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": "0"}, "--labels '0'"),
        ({"labels": "-5"}, "--labels '-5'"),
        ({"draw": -1}, "--draw -1 is negative"),
        ({"seed": -2}, "--seed -2 is negative"),
        ({"assignments": ("train.steps=0",)}, "train.steps=0 is not possible"),
        ({"assignments": ("train.batch_size=-1",)}, "train.batch_size=-1 is not possible"),
        ({"assignments": ("precision=16",)}, "precision='16' is not known"),
        ({"assignments": ("train.rotation=all",)}, "rotation='all' is not known"),
        ({"assignments": ("optim.decay=some",)}, "optim.decay='some' does not fit"),
        ({"assignments": ("min_points=-1",)}, "min_points=-1 is out of range"),
        ({"assignments": ("train.steps",)}, "has no value"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(BenchmarkError) as error:
        resolve(Request("pointnet", **{"dataset": "pilarnet-m", **values}))
    assert message in str(error.value)
    assert "expected" in str(error.value)


def test_a_checkpoint_must_exist_and_be_of_use(tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no checkpoint .*expected"):
        resolve(request("polarmae", checkpoint=str(tmp_path / "none.safetensors")))
    (tmp_path / "weights").write_bytes(b"x")
    assert resolve(request("polarmae", checkpoint=str(tmp_path / "weights"))).checkpoint_sha256
    for values in ({"model": "pointnet"}, {"mode": "scratch"}):
        with pytest.raises(ConfigError, match="has no use here"):
            resolve(request(**{"model": "polarmae", **values}, checkpoint=str(tmp_path / "weights")))


def test_a_configuration_is_frozen_and_plain_json():
    config = resolve(request("polarmae", preset="tiny"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3
    plain = json.loads(json.dumps(config.as_dict()))
    assert plain["train"]["steps"] == config.train.steps
    assert plain["task"]["classes"] == list(config.task.classes)


def test_whatever_changes_a_result_changes_its_fingerprint():
    def name(config, revision="v2", code="c", device="cpu", precision="32"):
        return fingerprint(config, revision, code, device, precision)

    base = resolve(request("pointnet", preset="tiny"))
    others = [
        {"labels": "7"},
        {"draw": 1},
        {"seed": 1},
        {"preset": "default"},
        {"task": "lartpc-segmentation-5"},
        *({"assignments": (a,)} for a in ("train.steps=3", "optim.lr=0.1", "head=3", "min_points=0", "revision=v1")),
    ]
    names = [name(resolve(Request("pointnet", **{"dataset": "pilarnet-m", "preset": "tiny", **o}))) for o in others]
    names += [name(base, revision="v1"), name(base, code="d"), name(base, device="cuda"), name(base, precision="bf16")]
    assert len({name(base), *names}) == len(names) + 1
    assert name(base) == name(resolve(request("pointnet", preset="tiny")))


def test_a_moved_checkpoint_is_the_same_run(tmp_path):
    names = set()
    for path in (tmp_path / "a", tmp_path / "b"):
        path.write_bytes(b"x")
        names.add(fingerprint(resolve(request("polarmae", checkpoint=str(path))), "v2", "c", "cpu", "32"))
    assert len(names) == 1


def test_budgets_draws_and_modes_share_one_pre_training_and_its_settings_do_not():
    spec = registry.model_spec("polarmae")

    def name(*assignments, **values):
        config = resolve(request("polarmae", *assignments, **values))
        return Identity(Request("polarmae"), config, spec, "cpu", "32", "c").pretraining_fingerprint("v2")

    same = [name(), name(labels="7"), name(draw=3), name(mode="frozen"), name(mode="peft"), name("train.steps=7")]
    assert len(set(same)) == 1
    others = [name("pretrain.steps=7"), name("pretrain.events=7"), name("pretrain_optim.lr=7"), name(seed=1)]
    others += [name("min_points=7"), name(preset="tiny"), name(task="lartpc-segmentation-5")]
    assert len({same[0], *others}) == len(others) + 1


def test_settings_of_the_data_are_handed_on_to_the_model_beside():
    typed = ("min_points=0", "model.head=3", "preprocess.energy_min_mev=0.2", "data.files=1", "train.steps=3")
    assert data_assignments(request("pointnet", *typed)) == (
        "preprocess.min_points=0",
        "preprocess.energy_min_mev=0.2",
        "data.files=1",
    )


def test_small_is_another_name_for_the_default_preset():
    small = resolve(request("polarmae", preset="small"))
    assert small == resolve(request("polarmae"))
    assert small.preset == "default"
    assert data_assignments(request("pointnet", "min_points=0", preset="small")) == ("preprocess.min_points=0",)


def test_a_smaller_rate_for_pretrained_weights_is_for_runs_that_have_some():
    scales = {
        mode: resolve(Request("polarmae", mode=mode, dataset="lartpc-sim")).optim.backbone_lr_scale
        for mode in ("fft", "scratch")
    }
    assert scales["fft"] < 1
    assert scales["scratch"] == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("train.rotation=event",), "mirror or none"),
        (("loss.kind=mse",), "not a loss for a classification"),
        (("preprocess.mask=all",), "random, stratified"),
        (("data.split=tile",), "auto, table, scan, block"),
    ],
)
def test_settings_that_do_not_fit_volumes_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        resolve(Request("conv_unet", "lif-segmentation", assignments=changes))


def test_a_model_of_hidden_tokens_is_scored_as_pretraining_made_it():
    own = resolve(Request("volume_mae", "lif-reconstruction"))
    assert (own.mode, own.trains, own.pretrain is not None) == ("frozen", False, True)
    scratch = resolve(Request("volume_mae", "lif-reconstruction", mode="scratch"))
    assert scratch.trains and scratch.pretrain is None
    assert resolve(Request("conv_unet", "lif-reconstruction")).mode == "scratch"
    with pytest.raises(ConfigError, match="trains a head"):
        resolve(Request("volume_mae", "lif-reconstruction", mode="peft"))
