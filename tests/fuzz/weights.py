"""Checkpoints of the suite and of publications, and the training states that an interrupted run continues from."""

from __future__ import annotations

import json
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmark import registry, tasks
from benchmark.checkpoints.load import open_checkpoint
from benchmark.checkpoints.manifest import Manifest
from benchmark.contracts import Inputs
from benchmark.contracts.safetensors_io import read_safetensors, write_safetensors
from benchmark.data.preparation import preparation
from benchmark.data.stream import event_set
from benchmark.runs.resolve import resolve
from benchmark.runs.restore import restore_model
from benchmark.settings import as_dict
from benchmark.training.config import TrainConfig
from benchmark.training.fit import Hardware, fit
from builders import many_records, released_files
from builders.pilarnet_files import make_events, write_folder
from builders.synthetic import request
from fuzz.arrays import BOMB, NPY, pickles
from fuzz.events import use_cache_of
from fuzz.mutations import TEXTS, Rng, odd_value, pick, with_odd_value
from fuzz.reader import Change, Reader

TASK = "lartpc-segmentation"
FRAME = registry.dataset_spec("pilarnet-m").info.frame
DTYPES = (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64, torch.bfloat16)


# --- safetensors ---


def _manifest() -> Manifest:
    config = resolve(request())
    return Manifest(
        model="pointnet", stage="finetune", task=TASK, task_version=tasks.task(TASK).version,
        model_config=as_dict(config.model_config), preprocess=as_dict(preparation(tasks.task(TASK))),
        frame=as_dict(FRAME), batch_size=2, origin={"fingerprint": "0" * 64}, versions={"particlebench": "0"},
    )  # fmt: skip


def _model() -> Any:
    torch.manual_seed(0)
    return registry.model_spec("pointnet").build(resolve(request()).model_config, Inputs(("log_energy",), FRAME),
                                                 tasks.task(TASK))  # fmt: skip


def _make_safetensors(folder: Path) -> None:
    write_safetensors(folder / "a.safetensors", _model().state_dict(), _manifest().metadata())


def _read_checkpoint(folder: Path, name: str, model: str | None = None) -> Any:
    checkpoint = open_checkpoint(folder / name, model)
    values = {k: v for k, v in vars(checkpoint.manifest).items() if k not in ("versions", "origin")}
    return values, {k: v for k, v in checkpoint.build().state_dict().items() if k in checkpoint.state}


def _changed_tensors(state: Mapping[str, torch.Tensor], rng: Rng) -> dict[str, torch.Tensor]:
    """One tensor is of another type, shape or value, has another name, or is absent."""
    state = dict(state)
    name = pick(rng, sorted(state))
    tensor = state.pop(name)
    what = int(rng.integers(6))
    if what == 0:
        state[name] = tensor.to(pick(rng, DTYPES))
    elif what == 1:
        state[name] = pick(
            rng, (tensor[None], tensor.flatten(), torch.zeros(0), torch.zeros(3, 5, 7), torch.tensor(1.0))
        )
    elif what == 2:
        state[name] = tensor.clone().float()
        state[name].flatten()[:1] = pick(rng, (0.0, -1.0, 3e38, 1e-40, float("nan"), float("inf")))
    elif what == 3:
        state[pick(rng, ("x", "../x", *sorted(state)))] = tensor
    elif what == 4:
        state[name], state["more"] = tensor, torch.ones(3)
    return state


def header(path: Path, rng: Rng) -> None:
    """One value of the header: a type, a shape, a place, or the description."""
    content = path.read_bytes()
    n = int.from_bytes(content[:8], "little")
    values = with_odd_value(json.loads(content[8 : 8 + n]), rng)
    text = json.dumps(values).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n :])


def tensors(path: Path, rng: Rng) -> None:
    """Other tensors under the description and the checksum of the first ones."""
    _, metadata = read_safetensors(path)
    save_file(_contiguous(_changed_tensors(load_file(path), rng)), path, dict(metadata))


def described(path: Path, rng: Rng) -> None:
    """Another description, or other tensors, under checksums that fit."""
    state, metadata = read_safetensors(path)
    metadata = dict(metadata)
    if rng.random() < 0.3:
        state = _contiguous(_changed_tensors(state, rng))
    else:
        name = pick(rng, sorted(metadata))
        try:
            metadata[name] = json.dumps(with_odd_value(json.loads(metadata[name]), rng))
        except ValueError:
            metadata[name] = pick(rng, (*TEXTS[:-1], "polarmae", "gnn", "majority", "pretrain", "cell-to-track"))
    clean = {k: v.encode("utf-8", "replace").decode() for k, v in metadata.items() if not k.endswith("_sha256")}
    write_safetensors(path, state, clean)


def _contiguous(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v.contiguous().clone() for k, v in state.items()}


# --- released checkpoints (.ckpt) ---


def _make_ckpt(folder: Path) -> None:
    released_files.write(folder / "a.ckpt", released_files.content())


def content(path: Path, rng: Rng) -> None:
    """One entry of what Lightning saved, or one tensor, is another."""
    values = torch.load(path, weights_only=True)
    state = values["state_dict"]
    what = int(rng.integers(4))
    if what == 0:
        values["state_dict"] = _changed_tensors(state, rng)
    elif what == 1:
        name = pick(rng, sorted(state))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state[name] = pick(rng, (
                torch.zeros(1).expand(10**6, 10**6), torch.zeros(5, 5).to_sparse(), torch.empty(10**9, device="meta"),
                torch.nn.Parameter(state[name]), odd_value(rng),
                torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8),
            ))  # fmt: skip
    else:
        others = with_odd_value({k: v for k, v in values.items() if k != "state_dict"}, rng)
        values = {**others, "state_dict": state} if isinstance(others, dict) else others
    _save(values, path)


def _save(values: Any, path: Path) -> None:
    try:
        torch.save(values, path)
    except (UnicodeEncodeError, RuntimeError):  # a lone surrogate: not for a pickle
        path.write_bytes(b"")


def members(path: Path, rng: Rng) -> None:
    """A part of the archive that is another, under a checksum that fits."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in parts if name.endswith("data.pkl"))
    name = pick(rng, (pickled, pickled, *parts))
    what, mode = int(rng.integers(6)), zipfile.ZIP_STORED
    if what == 0:
        parts[name] = pickles(rng)
    elif what == 1:
        at = int(rng.integers(len(parts[name]) + 1))
        parts[name] = parts[name][:at] + rng.bytes(1) + parts[name][at + 1 :]
    elif what == 2:
        parts[name] = parts[name][: int(rng.integers(len(parts[name]) + 1))]
    elif what == 3:
        del parts[name]
    elif what == 4:
        mode, parts[name] = zipfile.ZIP_DEFLATED, bytes(BOMB)
    else:
        parts["../../escaped"] = b"x"
    with zipfile.ZipFile(path, "w", mode) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part, held in parts.items():
            archive.writestr(part, held)


# --- training states ---


def _train(folder: Path, stop: bool = False) -> Any:
    use_cache_of(folder)
    spec, config = registry.dataset_spec("pilarnet-m"), resolve(request())
    dataset = spec.open(spec.config(), folder / "data")
    model = _model()
    fit(
        model, event_set(dataset, "train", config.task, config.preprocess),
        TrainConfig(3, batch_size=2, checkpoint_every=1), config.optim, stage="finetune", seed=0,
        hardware=Hardware("cpu", "32"), folder=folder / "run", title="t", deadline=time.monotonic() if stop else None,
    )  # fmt: skip
    return model.state_dict()


def _make_states(folder: Path) -> None:
    write_folder(folder / "data", {"train": make_events(np.random.default_rng(3), 4)})
    for _ in range(2):  # a step each
        _train(folder, stop=True)


def state_content(path: Path, rng: Rng) -> None:
    """One entry of a training state is another."""
    values = torch.load(path, weights_only=True)
    if rng.random() < 0.3:
        values["state_dict"] = _changed_tensors(values["state_dict"], rng)
    else:
        values = with_odd_value(values, rng)
    _save(values, path)


# --- baselines without gradients ---


def _make_values(folder: Path) -> None:
    np.save(folder / "a.npy", np.array([0.1, 0.2, 0.3, 0.4], np.float32))


def _read_values(folder: Path) -> Any:
    record = many_records.made_up("majority", 10, 0, 0, np.random.default_rng(0), n_events=3)
    return restore_model(replace(record, config={**record.config, "model_config": {}, "preprocess": {}}),
                         folder / "a.npy", FRAME).frequencies  # fmt: skip


def _reader(name: str, make: Callable[[Path], object], file: str, model: str | None, changes: Mapping[str, Change],
            **kind: bool) -> Reader:  # fmt: skip
    return Reader(name, make, file, partial(_read_checkpoint, name=file, model=model), changes, **kind)


READERS = (
    _reader("safetensors", _make_safetensors, "a.safetensors", None, {"header": header, "tensors": tensors},
            is_sealed=True),
    _reader("safetensors-described", _make_safetensors, "a.safetensors", None, {"described": described}, only_own=True),
    _reader("ckpt", _make_ckpt, "a.ckpt", "polarmae", {}, is_sealed=True),
    _reader("ckpt-content", _make_ckpt, "a.ckpt", "polarmae", {"content": content, "members": members}, only_own=True),
    Reader("training-state", _make_states, "run/step=*2.ckpt", _train, is_sealed=True),
    Reader("training-state-content", _make_states, "run/step=*2.ckpt", _train,
           {"content": state_content, "members": members}, only_own=True),
    Reader("baseline-values", _make_values, "a.npy", _read_values, NPY),
)  # fmt: skip
