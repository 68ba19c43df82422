"""Checkpoints say what they are; released ones are read as plain data, and whatever is wrong is one sentence."""

import copy
import dataclasses
import json
import lzma
import os
import pickle
import re
import shlex
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.checkpoints.load import load_backbone, open_checkpoint, open_released, resolve_checkpoint
from benchmark.checkpoints.manifest import from_metadata
from benchmark.cli import main
from benchmark.contracts import PointBatch
from benchmark.contracts.safetensors_io import read_safetensors, write_safetensors
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError
from benchmark.records.counts import unpack_counts
from benchmark.records.store import read_records
from benchmark.runs.execution import Execution
from benchmark.runs.transfer import Target, evaluate_checkpoint
from benchmark.runs.weights import run_folder
from builders import released_files as released
from builders.archives import compressed, flipped_tensor
from builders.synthetic import execute, make_data, request


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text and "expected" in text and text.endswith(".")
    return text


# --- released checkpoints ---


def test_the_released_sample_gives_the_logits_of_its_own_code(shared_dir):
    reference = shared_dir / "reference/polarmae"
    model = open_released(reference / "checkpoint_sample_finetune.ckpt", "polarmae").build()
    events, expected = (np.load(reference / "golden" / n) for n in ("public_batch.npz", "checkpoint_expected.npz"))
    lengths = events["lengths"]
    points = np.concatenate([p[:n] for p, n in zip(events["points"], lengths, strict=True)])
    batch = PointBatch(
        coords=points[:, :3], energy=points[:, 3], feats=points[:, 3:4],
        offsets=np.concatenate([[0], np.cumsum(lengths)]), event_ids=("a", "b", "c"), columns=("log_energy",),
        frame=released.FRAME,
    )  # fmt: skip
    logits = np.concatenate([x[:n] for x, n in zip(expected["ft_logits"], lengths, strict=True)])
    np.testing.assert_allclose(model.predict(batch), logits, rtol=1e-4, atol=1e-4)


def test_the_released_layout_of_pretraining_is_read(shared_dir, tmp_path):
    packed = shared_dir / "reference/polarmae/checkpoint_layout_pretrain.ckpt.xz"
    (tmp_path / "layout.ckpt").write_bytes(lzma.decompress(packed.read_bytes()))
    checkpoint = open_released(tmp_path / "layout.ckpt", "polarmae")
    assert checkpoint.manifest.stage == "pretrain"
    settings = checkpoint.manifest.model_config
    wanted = {"behaviour": "reference", "width": 192, "depth": 2, "heads": 6, "decoder_depth": 1, "overlap": 0.72}
    assert {k: settings[k] for k in wanted} == wanted
    assert checkpoint.manifest.preprocess["log_eps_mev"] == 0.13
    checkpoint.build()
    with pytest.raises(CheckpointError, match="Give polarmae as the model"):
        open_released(tmp_path / "layout.ckpt", "pointmae")


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
@pytest.mark.parametrize("model", ["polarmae", "pointmae"])
def test_every_tensor_arrives_through_the_released_layout(tmp_path, model, stage):
    path = released.write(tmp_path / "released.ckpt", released.content(model, stage))
    checkpoint = open_released(path, model)
    own = released.built(model).state_dict()
    absent = "head." if stage == "pretrain" else "decoder."
    assert set(checkpoint.state) == {k for k in own if not k.startswith(absent)}
    for name, tensor in checkpoint.state.items():
        assert torch.equal(tensor, own[name]), name
    filled = checkpoint.build().state_dict()
    assert all(torch.equal(filled[k], own[k]) for k in checkpoint.state)


def test_an_imported_checkpoint_is_the_same_after_it_was_written(tmp_path, capsys):
    path = released.write(tmp_path / "released.ckpt", released.content())
    main(["checkpoint", "import", "polarmae", str(path), "--out", str(tmp_path / "w.safetensors")])
    before, after = open_released(path, "polarmae"), open_checkpoint(tmp_path / "w.safetensors")
    assert after.manifest == before.manifest
    assert after.manifest.training == {"labels": 100}
    assert all(torch.equal(after.state[k], before.state[k]) for k in before.state)
    capsys.readouterr()
    main(["checkpoint", "info", str(tmp_path / "w.safetensors"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["origin"]["released"] == "released.ckpt"
    assert told["model"] == "polarmae" and told["tensors"] == len(after.state)


class Code:
    """Unpickling it would run a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def with_setting(values, *path, value):
    """The content with one nested setting changed."""
    values = copy.deepcopy(values)
    place = values
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return values


BLOCKS = ("hyper_parameters", "encoder", "init_args", "transformer_kwargs")
WRONG = {
    "an unknown entry": (("extras",), 1, "unknown entry 'extras'"),
    "settings that are no dictionary": (("hyper_parameters",), [1], "hyper_parameters that are a list"),
    "an unknown setting": (("hyper_parameters", "use_rpb"), True, "setting use_rpb=True is not supported"),
    "an unknown nested setting": ((*BLOCKS, "prenorm"), False, "transformer_kwargs.prenorm=False"),
    "another architecture": ((*BLOCKS[:-1], "arch"), "vit_giant", "arch='vit_giant'"),
    "another tokenizer": ((*BLOCKS[:-1], "voxel_size"), 25, "voxel_size=25"),
    "another class": ((*BLOCKS[:-2], "class_path"), "os.system", "class_path='os.system'"),
    "more blocks than there are": ((*BLOCKS, "depth"), 2, "lacks 12 tensors"),
    "a depth without bounds": ((*BLOCKS, "depth"), 10**9, "depth=1000000000"),
    "a depth that is a text": ((*BLOCKS, "depth"), "1", "depth='1'"),
    "another scale": (("hyper_parameters", "transformation_scale_factor"), 0.5, "transformation_scale_factor=0.5"),
    "another centre": (("hyper_parameters", "transformation_center"), [0.0] * 3, "transformation_center"),
    "a centre that is a number": (("hyper_parameters", "transformation_center"), 384, "transformation_center=384"),
    "a part that is a number": ((*BLOCKS[:-1], "tokenizer_kwargs"), 0, "tokenizer_kwargs.=0"),
    "a name that is a number": (("hyper_parameters", 7), 0, "whose name is no text (int)"),
    "a head of unknown layers": (("hyper_parameters", "seg_head_fetch_layers"), [7], "seg_head_fetch_layers=[7]"),
    "another width of the head": (("hyper_parameters", "seg_head_dim"), 128, "misshaped"),
    "an unknown cut": (("datamodule_hyper_parameters", "dataset_kwargs", "emean"), 1.0, "data.dataset_kwargs.emean"),
    "a threshold that is no number": (
        ("datamodule_hyper_parameters", "dataset_kwargs", "energy_threshold"), float("nan"), "energy_threshold=nan",
    ),
    "a tensor among the settings": (("hyper_parameters", "learning_rate"), torch.ones(1), "a Tensor in hyper_param"),
    "a text among the tensors": (("state_dict", "seg_head.bn1.bias"), "x", "a str under 'seg_head.bn1.bias'"),
    "an unknown tensor": (("state_dict", "teacher.weight"), torch.ones(2), "unknown 1 tensors (first: teacher.weight)"),
    "a tensor of another shape": (("state_dict", "seg_head.bn1.bias"), torch.ones(3), "misshaped 1 tensors"),
    "NaN": (("state_dict", "seg_head.bn1.bias"), torch.full((64,), torch.nan), "not finite in 1 tensors"),
    "a tensor without memory": (
        ("state_dict", "seg_head.bn1.bias"), torch.empty(64, device="meta"), "without its values",
    ),
    "terabytes of one number": (
        ("state_dict", "seg_head.bn1.bias"), torch.zeros(1).expand(10**13), "without its values",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def finetuned():
    return released.content()


@pytest.mark.parametrize("what", WRONG)
def test_a_released_checkpoint_that_is_not_understood_is_one_sentence(finetuned, tmp_path, what):
    place, value, told = WRONG[what]
    path = released.write(tmp_path / "wrong.ckpt", with_setting(finetuned, *place, value=value))
    with pytest.raises(CheckpointError) as error:
        open_released(path, "polarmae")
    assert told in one_sentence(error)


def test_a_missing_tensor_and_a_missing_part_are_told(finetuned, tmp_path):
    values = copy.deepcopy(finetuned)
    del values["state_dict"]["upsampler.mlp_bns.0.bias"]
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors \(first: upsampler.mlp_bns.0.bias\)"):
        open_released(released.write(tmp_path / "a.ckpt", values), "polarmae")
    del values["state_dict"]
    with pytest.raises(CheckpointError, match="has no 'state_dict'"):
        open_released(released.write(tmp_path / "b.ckpt", values), "polarmae")


def damaged_files(finetuned, folder):
    """name -> (path of a file that is no whole checkpoint, what the sentence says)."""
    whole = released.write(folder / "whole.ckpt", finetuned).read_bytes()
    with (folder / "pickle.ckpt").open("wb") as stream:
        pickle.dump(Code(folder / "ran"), stream)
    torch.save({**finetuned, "callbacks": Code(folder / "ran")}, folder / "code.ckpt")
    (folder / "empty.ckpt").write_bytes(b"")
    (folder / "short.ckpt").write_bytes(whole[: len(whole) // 2])
    (folder / "flipped.ckpt").write_bytes(flipped_tensor(whole))
    (folder / "text.ckpt").write_text("no checkpoint")
    (folder / "packed.ckpt").write_bytes(compressed(whole))
    torch.save([1], folder / "list.ckpt")
    return {
        "pickle": "it is no whole archive", "code": "names posix.system, which could run code",
        "flipped": "does not have its checksum", "empty": "it is no whole archive", "short": "it is no whole archive",
        "text": "it is no whole archive", "packed": "whole/data.pkl is compressed", "list": "holds a list",
        "gone": "no file",
    }  # fmt: skip


def test_damaged_and_malicious_files_are_one_sentence_and_nothing_is_written_or_run(finetuned, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    for name, told in damaged_files(finetuned, tmp_path).items():
        with pytest.raises(SystemExit) as end:
            main(["checkpoint", "import", "polarmae", str(tmp_path / f"{name}.ckpt"), "--out", str(out)])
        shown = capsys.readouterr()
        assert end.value.code == 2 and shown.out == ""
        assert re.fullmatch(rf"error: .*{re.escape(told)}.*expected.*\n", shown.err), (name, shown.err)
        assert not out.exists()
    assert not (tmp_path / "ran").exists()
    assert not list(tmp_path.glob(".*partial"))


def test_random_damage_is_one_sentence_or_harmless(finetuned, tmp_path):
    whole = released.write(tmp_path / "whole.ckpt", finetuned).read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as archive:
        n_bytes = next(m.file_size for m in archive.infolist() if m.filename.endswith("data.pkl"))
    rng, refused = np.random.default_rng(2), 0
    for _ in range(40):
        changed = bytearray(whole)
        changed[int(rng.integers(0, n_bytes))] = int(rng.integers(0, 256))
        (tmp_path / "changed.ckpt").write_bytes(changed)
        try:
            open_released(tmp_path / "changed.ckpt", "polarmae")
        except CheckpointError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 10


def test_models_without_released_checkpoints_say_so(finetuned, tmp_path):
    path = released.write(tmp_path / "released.ckpt", finetuned)
    with pytest.raises(CheckpointError, match="pointnet cannot read released checkpoints"):
        open_checkpoint(path, "pointnet")
    with pytest.raises(CheckpointError, match="--model was expected"):
        open_checkpoint(path)


# --- our own ---


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder, data, outcome, weights) of one tiny run."""
    root = tmp_path_factory.mktemp("checkpoints")
    data = make_data(root)
    outcome = execute(data, root, request("pointnet"))
    return root, data, outcome, run_folder(root / "runs", outcome.record) / "model.safetensors"


def test_a_runs_weights_say_what_they_are(ran):
    _, _, outcome, weights = ran
    manifest = open_checkpoint(weights).manifest
    record = outcome.record
    assert (manifest.model, manifest.stage, manifest.task) == ("pointnet", "finetune", "lartpc-segmentation")
    assert manifest.model_config == record.config["model_config"]
    assert manifest.preprocess == record.config["preprocess"]
    assert manifest.origin == {"fingerprint": record.fingerprint}
    assert manifest.versions["torch"] == metadata.version("torch")
    assert manifest.training["dataset_revision"] == record.dataset["revision"]


def test_a_checkpoint_scores_without_its_record_as_its_run_did(ran, tmp_path):
    root, data, outcome, weights = ran
    execution = Execution(device="cpu", data=data, records=tmp_path, runs=root / "runs")
    scored = evaluate_checkpoint(open_checkpoint(weights), Target("pilarnet-m"), execution)
    np.testing.assert_array_equal(unpack_counts(scored.per_event), unpack_counts(outcome.record.per_event))
    assert scored.metrics == outcome.record.metrics
    assert scored.fingerprint != outcome.record.fingerprint and scored.status == "finished"
    assert scored.training["origin"] == {"fingerprint": outcome.record.fingerprint}
    records, problems = read_records(tmp_path)
    assert records == [scored] and not problems


def test_a_released_checkpoint_is_evaluated_by_the_command(ran, tmp_path, capsys):
    _, data, _, _ = ran
    path = released.write(tmp_path / "released.ckpt", released.content())
    command = ["evaluate", "--checkpoint", str(path), "--data", str(data), "--records", str(tmp_path / "records")]
    main([*command, "--model", "polarmae", "--threads", "1", "--device", "cpu", "--split", "val", "--json"])
    record = json.loads(capsys.readouterr().out)
    assert record["config"]["train"] == {"batch_size": 2}
    assert record["config"]["model_config"]["behaviour"] == "reference"
    assert record["training"]["checkpoint_sha256"] == record["training"]["origin"]["sha256"]
    assert record["events"]["test"] == 2 and record["metrics"]["n_events"] == 2
    main([*command, "--model", "polarmae", "--threads", "1", "--device", "cpu", "--split", "val"])
    title = " ".join(capsys.readouterr().out.split())
    known = record["training"]["trained_on"].get("labels")
    assert f"{known} labelled events, draw unknown, seed unknown" in title and "2 val events of pilarnet-m" in title


def test_what_cannot_be_evaluated_is_told(ran, tmp_path):
    _, data, _, weights = ran
    pretrained = open_released(released.write(tmp_path / "p.ckpt", released.content(stage="pretrain")), "polarmae")
    with pytest.raises(CheckpointError, match="no trained head"):
        evaluate_checkpoint(pretrained, Target("pilarnet-m"), Execution(data=data, records=tmp_path))
    ours = open_checkpoint(weights)
    for given, told in (
        ({"batch_size": 0}, "--batch-size 0"),
        ({"assignments": ("columns=energy",)}, "its own|Its own"),
    ):
        with pytest.raises(ConfigError, match=told):
            evaluate_checkpoint(ours, Target("pilarnet-m"), Execution(data=data, records=tmp_path), **given)
    elsewhere = dataclasses.replace(ours.manifest, frame={**ours.manifest.frame, "scale": 0.5})
    with pytest.raises(CheckpointError, match="was trained in the frame"):
        evaluate_checkpoint(
            dataclasses.replace(ours, manifest=elsewhere), Target("pilarnet-m"), Execution(data=data, records=tmp_path)
        )
    assert not list(tmp_path.rglob("*.json"))


def test_a_changed_tensor_is_found_by_its_checksum(ran, tmp_path):
    content = bytearray(ran[3].read_bytes())
    content[-1] ^= 1
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum") as error:
        open_checkpoint(tmp_path / "w.safetensors")
    one_sentence(error)


METADATA = {
    "no description": (None, None, "does not say which model"),
    "a newer format": ("format_version", "2", "format '2'"),
    "a stage that is none": ("stage", "sideways", "damaged description"),
    "a file of code as the model": ("model", "evil.py", "the file 'evil.py', and a checkpoint may only name"),
    "settings that are no JSON": ("model_config", "{", "damaged description"),
    "an unknown setting": ("model_config", '{"widht": 3}', "widht"),
    "a huge size": ("model_config", '{"wide": [99999, 99999, 99999]}', "does not fit the file"),
    "a size beyond any": ("model_config", '{"wide": [1000000000]}', "above 100000"),
    "an impossible size": ("model_config", '{"wide": [-4]}', "does not fit the file"),
    "an unknown model": ("model", "pointnot", "pointnot"),
    "an unknown task": ("task", "cooking", "cooking"),
    "another version of the task": ("task_version", "7", "version 7"),
    "a batch of none": ("batch_size", "0", "damaged description"),
    "a frame without scale": ("frame", "{}", "damaged description"),
}


@pytest.mark.parametrize("what", METADATA)
def test_a_wrong_description_is_one_sentence(ran, tmp_path, what):
    name, value, told = METADATA[what]
    state, metadata = read_safetensors(ran[3])
    metadata = {} if name is None else {**metadata, name: value}
    write_safetensors(tmp_path / "w.safetensors", state, metadata)
    with pytest.raises(BenchmarkError) as error:
        open_checkpoint(tmp_path / "w.safetensors").build()
    assert told in str(error.value) and "\n" not in str(error.value)


def test_weights_that_are_not_finite_are_refused(ran, tmp_path):
    state, metadata = read_safetensors(ran[3])
    name = sorted(k for k, v in state.items() if v.is_floating_point())[0]
    state[name] = torch.full_like(state[name], torch.inf)
    write_safetensors(tmp_path / "w.safetensors", state, metadata)
    with pytest.raises(CheckpointError, match=re.escape(f"not finite in 1 tensors (first: {name})")):
        open_checkpoint(tmp_path / "w.safetensors")


def test_a_manifest_survives_its_texts(ran):
    manifest = open_checkpoint(ran[3]).manifest
    assert from_metadata(Path("x"), manifest.metadata()) == manifest


def test_a_missing_checkpoint_is_told():
    with pytest.raises(CheckpointError, match="no checkpoint gone"):
        resolve_checkpoint("gone.safetensors")


# --- as the start of a run ---


def test_a_run_that_starts_from_a_released_checkpoint_is_told_its_settings_and_then_has_its_weights(ran, tmp_path):
    _, data, _, _ = ran
    path = released.write(tmp_path / "released.ckpt", released.content(stage="pretrain"))
    asked = request("polarmae", checkpoint=str(path), assignments=("train.steps=1", "preprocess.min_points=0"))
    with pytest.raises(CheckpointError) as error:
        execute(data, tmp_path, asked)
    text = one_sentence(error)
    assert "was made with" in text
    typed = shlex.split(text.partition("Type ")[2].rstrip("."))
    assert typed[:2] == ["--preset", "reference"]
    settings = ("train.steps=1", "train.batch_size=2", "min_points=0")
    again = dataclasses.replace(asked, preset="reference", assignments=(*settings, *typed[3::2]), mode="frozen")
    record = execute(data, tmp_path, again).record
    assert record.training["pretraining"]["origin"]["released"] == "released.ckpt"
    after, _ = read_safetensors(run_folder(tmp_path / "runs", record) / "model.safetensors")
    before = released.built().state_dict()
    fixed = [k for k in before if k.startswith(("encoder.", "position."))]
    assert fixed and all(torch.equal(after[k], before[k]) for k in fixed)


def test_other_backbone_settings_with_equal_shapes_are_refused(tmp_path):
    path = released.write(tmp_path / "released.ckpt", released.content(stage="pretrain"))
    checkpoint, model = open_released(path, "polarmae"), released.built(seed=9)
    from benchmark import registry

    spec, preprocess = registry.model_spec("polarmae"), checkpoint.manifest.preprocessing()
    clean = dataclasses.replace(model.config, behaviour="clean", overlap=0.72)
    with pytest.raises(CheckpointError, match=r"behaviour=reference and not clean.*--preset reference"):
        load_backbone(model, path, spec, clean, preprocess)
    with pytest.raises(CheckpointError, match=r"preprocess.log_eps_mev=0.13 and not 0.01"):
        load_backbone(model, path, spec, model.config, dataclasses.replace(preprocess, log_eps_mev=0.01))
    told = load_backbone(model, path, spec, model.config, preprocess)
    assert told["stage"] == "pretrain"
