"""From a request to a `RunConfig`: defaults and presets, then the user's values."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import hub, registry, tasks
from benchmark.checkpoints.shipped import SHIPPED, Shipped, find_shipped, fitting_weights
from benchmark.contracts import MODES, DatasetSpec, Loss, ModelSpec, OptimConfig, Preset, Task
from benchmark.contracts.pretext import PretextOptim, PretextPreset, PretextSpec, method_name
from benchmark.contracts.task import LOSSES
from benchmark.data.budget import parse_labels
from benchmark.data.preparation import preparation
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError, unknown_name
from benchmark.io import sha256_file
from benchmark.runs.config import SPLITS, Request, RunConfig
from benchmark.settings import override, parse_assignments
from benchmark.training.config import PretrainConfig, ProbeConfig, TrainConfig

PROBE_MODES = ("frozen", "scratch")  # of tasks at the level of tokens
PRESET_ALIASES = {"small": "default"}  # alias -> name in records


@dataclass(frozen=True)
class _Selection:
    """Specs, preset and mode that a request names."""

    spec: ModelSpec
    data_spec: DatasetSpec
    task: Task
    preset: Preset
    preset_name: str
    mode: str
    pretext: PretextSpec | None = None  # where the mode pre-trains

    @property
    def pretrains(self) -> bool:
        """Whether the backbone's weights come from pre-training."""
        return self.mode != "scratch" and (self.spec.pretrains or self.pretext is not None)

    @property
    def pretext_preset(self) -> PretextPreset:
        """The pretext's settings of the run's preset."""
        return PretextPreset() if self.pretext is None else self.pretext.preset(self.preset_name, self.task.detector)


def _select(request: Request) -> _Selection:
    if request.dataset is not None:
        registry.dataset_spec(request.dataset)  # its file may define the task
    task = tasks.task(request.task)
    spec = registry.model_spec(request.model)
    preset_name = canonical_preset(request.preset)
    preset = _preset(spec, preset_name, task)
    data_spec = registry.dataset_spec(request.dataset or task.dataset)
    _check_pair(spec, data_spec, task)
    pretext = _checked_pretext(spec, request, task)
    mode = _checked_mode(spec, request.mode, task, pretext)
    return _Selection(spec, data_spec, task, preset, preset_name, mode, None if mode == "scratch" else pretext)


def _checked_pretext(spec: ModelSpec, request: Request, task: Task) -> PretextSpec | None:
    """The pretext of a request: the one asked for, or the model's usual one. Raises ConfigError, UnknownNameError."""
    if request.pretext is None:
        return None if spec.pretext is None else registry.pretext_spec(spec.pretext)
    pretext = registry.pretext_spec(request.pretext)
    if request.mode == "scratch":
        raise ConfigError(
            f"--pretext {pretext.name} and --mode scratch, which has no pre-training, exclude each other. One of the "
            f"two was expected. Leave --pretext out."
        )
    if not spec.has_point_features:
        why = "has a self-supervised stage of its own" if spec.pretrains else "has no features of points to train"
        names = ", ".join(_models_of_points())
        raise ConfigError(
            f"--pretext {pretext.name} does not fit {spec.name}, which {why}. A model with features of points was "
            f"expected ({names}). Leave --pretext out, or correct --model."
        )
    if task.data != "points" or task.self_supervised or task.level == "token":
        raise ConfigError(
            f"--pretext {pretext.name} trains features of points, and {task.name} is about {task.data} at the level of "
            f"{task.level}s. A task of points was expected. Leave --pretext out, or correct --task."
        )
    return pretext


def _models_of_points() -> list[str]:
    """Names of the models that any pretext can train; those that cannot be imported here are left out."""
    names = []
    for name in registry.model_names():
        with suppress(BenchmarkError):  # `list models` says why
            names += [name] if registry.model_spec(name).has_point_features else []
    return names


def resolve(request: Request) -> RunConfig:
    """Fill in the suite's defaults and the preset, then the user's values.

    Raises ConfigError, UnknownNameError, CheckpointError.
    """
    labels = parse_labels(request.labels)
    if request.split not in SPLITS:
        raise ConfigError(
            f"--split {request.split!r} cannot be scored by a run. test, or val to choose settings, was expected. "
            f"Correct it."
        )
    selection = _select(request)
    draw, seed = (_whole_number(name, getattr(request, name)) for name in ("draw", "seed"))
    sections = _setting_sections(selection)
    apply_settings(sections, request.assignments)
    spec, dataset = selection.spec, selection.data_spec.info.name
    task = dataclasses.replace(
        selection.task, loss=_checked_loss(sections.get("loss", selection.task.loss), selection.task)
    )
    for name in ("train", "pretrain"):
        _check_rotation(sections.get(name), name, task)
    weights = _shipped_weights(request, selection, sections, task, dataset)
    if weights is not None:
        del sections["pretrain"], sections["pretrain_optim"]
    _check_protocol(sections.get("probe"), labels)
    checkpoint = _checkpoint_path(request, selection.pretrains)
    return RunConfig(
        task=task, dataset=dataset, model=spec.name, preset=selection.preset_name, labels=labels, mode=selection.mode,
        draw=draw, seed=seed, checkpoint=checkpoint,
        checkpoint_sha256=None if checkpoint is None else sha256_file(Path(checkpoint)),
        data=sections["data"], preprocess=sections["preprocess"],
        model_config=sections["model"], optim=sections.get("optim", OptimConfig()), train=sections["train"],
        pretrain=sections.get("pretrain"), pretrain_optim=sections.get("pretrain_optim"),
        probe=sections.get("probe"), weights=weights,
        pretext=None if selection.pretext is None else selection.pretext.name, pretext_config=sections.get("pretext"),
        split=request.split,
    )  # fmt: skip


def _whole_number(name: str, value: int) -> int:
    """A whole number from 0 on. Raises ConfigError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        what = "negative" if isinstance(value, int) else "no whole number"
        raise ConfigError(f"--{name} {value!r} is {what}. A whole number from 0 on was expected. Type --{name} 0.")
    return number


def _checked_loss(loss: Loss, task: Task) -> Loss:
    """Check that the loss fits the kind of task. Raises ConfigError."""
    if loss.kind not in LOSSES[task.kind]:
        raise ConfigError(
            f"loss.kind={loss.kind} is not a loss for a {task.kind} such as {task.name}. One of "
            f"{', '.join(LOSSES[task.kind])} was expected. Correct --set loss.kind."
        )
    return loss


def _check_rotation(train: TrainConfig | None, section: str, task: Task) -> None:
    """Raises ConfigError for a rotation that moves voxels off their lattice, in tasks on volumes."""
    if train is not None and task.data == "volumes" and train.rotation not in ("mirror", "none"):
        raise ConfigError(
            f"{section}.rotation={train.rotation} turns points, and {task.name} is about volumes. mirror or none was "
            f"expected. Correct --set {section}.rotation."
        )


def data_assignments(request: Request) -> tuple[str, ...]:
    """The user's assignments that change the data, hence apply to every model compared on it."""
    sections = _setting_sections(_select(request))
    located = {
        _find_setting(sections, key): value for key, value in parse_assignments(list(request.assignments)).items()
    }
    return tuple(f"{s}.{name}={value}" for (s, name), value in located.items() if s in ("data", "preprocess"))


def _setting_sections(selection: _Selection) -> dict[str, Any]:
    """Every section of settings for `--set section.key=value`, with the preset's values."""
    spec, preset, task = selection.spec, selection.preset, selection.task
    model = override(spec.config(), {**preset.model, **spec.mode_overrides.get(selection.mode, {})}, "model")
    train = override(TrainConfig(), task.train, "train")
    pretrain = override(PretrainConfig(), task.pretrain, "pretrain")
    if selection.preset_name == "tiny":
        train = dataclasses.replace(train, steps=10, batch_size=2)
        pretrain = dataclasses.replace(pretrain, steps=10, batch_size=2, events=50)
    train = override(train, preset.train, "train")
    asked = selection.pretext_preset
    pretrain = override(pretrain, {**preset.pretrain, **asked.pretrain}, "pretrain")
    sections = {
        "model": model,
        "optim": override(OptimConfig(), _optimiser_settings(preset, selection.pretrains), "optim"),
        "train": train,
        "preprocess": preparation(task),
        "data": selection.data_spec.config(),
        "loss": task.loss,
    }
    if selection.pretrains:
        sections["pretrain"] = pretrain
        pretrain_optim = {**preset.pretrain_optim, **asked.optim}
        optim = OptimConfig() if selection.pretext is None else PretextOptim()
        sections["pretrain_optim"] = override(optim, pretrain_optim, "pretrain_optim")
    if selection.pretext is not None:
        sections["pretext"] = override(selection.pretext.config(), asked.pretext, "pretext")
    if task.level == "token":
        del sections["optim"], sections["loss"]
        sections["probe"] = ProbeConfig()
    return sections


def _optimiser_settings(preset: Preset, pretrains: bool) -> dict[str, Any]:
    """The preset's optimiser; without pre-training, no separate rate of the backbone."""
    return {k: v for k, v in preset.optim.items() if pretrains or k != "backbone_lr_scale"}


def apply_settings(sections: dict[str, Any], assignments: Sequence[str]) -> None:
    """Change settings in their sections, in place. Raises ConfigError, UnknownNameError."""
    changes: dict[str, dict[str, str]] = {}
    for key, value in parse_assignments(list(assignments)).items():
        section, name = _find_setting(sections, key)
        changes.setdefault(section, {})[name] = value
    for section, values in changes.items():
        sections[section] = override(sections[section], values, section)


def _find_setting(sections: Mapping[str, Any], key: str) -> tuple[str, str]:
    """Section and field that `key` means: `section.field`, or a field's name alone where only one section has it."""
    section, dot, name = key.partition(".")
    if dot:
        if section not in sections:
            raise unknown_name("section of settings", section[:60], sections, "Correct the --set option.")
        return section, name
    fields = {s: [f.name for f in dataclasses.fields(v)] for s, v in sections.items()}
    owners = [s for s, names in fields.items() if key in names]
    if len(owners) == 1:
        return owners[0], key
    if owners:
        choice = ", ".join(f"{o}.{key}" for o in owners)
        raise ConfigError(f"--set {key} means several settings. One of {choice} was expected. Name the section.")
    known = sorted({n for names in fields.values() for n in names})
    raise unknown_name("setting", key, known, "Correct the --set option.")


def canonical_preset(name: str) -> str:
    """The preset's name in records: `small` is `default`."""
    return PRESET_ALIASES.get(name, name)


def _shipped_weights(
    request: Request, selection: _Selection, sections: Mapping[str, Any], task: Task, dataset: str
) -> Shipped | None:
    """The package's pre-trained weights, if they fit the run and the user did not request others."""
    if request.pretrain and ("pretrain" not in sections or request.checkpoint is not None):
        conflict = "--checkpoint" if request.checkpoint is not None else "a model or mode without pre-training"
        raise ConfigError(
            f"--pretrain and {conflict} exclude each other. One of the two was expected. Leave --pretrain out."
        )
    changed_sections = {_find_setting(sections, key)[0] for key in parse_assignments(list(request.assignments))}
    if (
        "pretrain" not in sections
        or request.pretrain
        or request.checkpoint
        or changed_sections & {"pretrain", "pretrain_optim", "pretext"}
    ):
        return None
    spec, pretext = selection.spec, selection.pretext
    return fitting_weights(
        request.model, spec, sections["model"], sections["preprocess"], task, dataset,
        None if pretext is None else pretext.name,
    )  # fmt: skip


def _preset(spec: ModelSpec, name: str, task: Task) -> Preset:
    if name not in spec.presets:
        raise unknown_name(f"preset of {spec.name}", name, spec.presets, "Correct --preset.")
    return spec.preset(name, task.detector)


def _checked_mode(spec: ModelSpec, mode: str | None, task: Task, pretext: PretextSpec | None) -> str:
    pretrains = spec.pretrains or pretext is not None
    if mode is None:
        scores_pretraining = task.level == "token" or task.self_supervised
        return ("frozen" if scores_pretraining else "fft") if pretrains else "scratch"
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES, "Correct --mode.")
    if mode != "scratch" and not pretrains:
        other = "Give --pretext (`list pretexts`), or leave" if spec.has_point_features else "Leave"
        raise ConfigError(
            f"--mode {mode} needs pre-training, which {spec.name} does not have. Only --mode scratch fits. "
            f"{other} --mode out."
        )
    if task.self_supervised and mode == "peft":
        raise ConfigError(
            f"--mode {mode} trains a head, which {task.name} does not have. --mode frozen (the pre-trained model as it "
            f"is), fft or scratch was expected. Leave --mode out."
        )
    if task.level == "token" and mode not in PROBE_MODES:
        raise ConfigError(
            f"--mode {mode} trains the model, which {task.name} does not. --mode frozen (the pre-trained encoder) or "
            f"--mode scratch (a random one, for comparison) was expected. Leave --mode out."
        )
    return mode


def _check_protocol(probe: ProbeConfig | None, labels: int | None) -> None:
    if probe is not None and probe.protocol == "published" and labels is not None:
        raise ConfigError(
            f"--labels {labels} does not fit probe.protocol=published, which takes the first {probe.max_tokens} tokens "
            f"of the training split. The whole split was expected. Type --labels all."
        )


def _checkpoint_path(request: Request, pretrains: bool) -> str | None:
    """Path of the initial weights; those on the hub are downloaded."""
    checkpoint = request.checkpoint
    if checkpoint is None:
        return None
    if not pretrains:
        raise ConfigError(
            f"--checkpoint {checkpoint} has no use here: this model and mode start from random weights. A "
            f"self-supervised model, or one with --pretext, in mode fft, peft or frozen was expected. Leave "
            f"--checkpoint out."
        )
    if checkpoint == SHIPPED:
        return str(_required_shipped(request).checked())
    if hub.is_remote(checkpoint):
        return str(hub.cached_file(checkpoint))
    if not Path(checkpoint).is_file():
        raise CheckpointError(
            f"There is no checkpoint {checkpoint}. A .safetensors file was expected. Correct --checkpoint."
        )
    return checkpoint


def _required_shipped(request: Request) -> Shipped:
    shipped = find_shipped(request.model, request.pretext)
    if shipped is None:
        raise CheckpointError(
            f"No weights ship with {method_name(request.model, request.pretext)}. A file or hub:owner/name was "
            f"expected. Leave --checkpoint out to pre-train."
        )
    return shipped


def can_do(spec: ModelSpec, task: Task) -> bool:
    """Whether a model supports tasks of this kind."""
    if task.data == "volumes" and task.kind == "classification":
        task = spec.effective_task(task)
    return (
        task.data in spec.data and task.level in spec.levels and task.kind in spec.kinds
        and (not spec.detectors or task.detector in spec.detectors)
        and (not spec.tasks or task.name in spec.tasks)
    )  # fmt: skip


def _check_pair(spec: ModelSpec, data_spec: DatasetSpec, task: Task) -> None:
    if task.name not in data_spec.info.tasks:
        raise ConfigError(
            f"The dataset {data_spec.info.name} has no labels for {task.name}. One of its own tasks was expected "
            f"({', '.join(data_spec.info.tasks)}). Correct --task or --dataset."
        )
    if not can_do(spec, task):
        raise ConfigError(
            f"{spec.name} cannot do {task.name} ({task.level}-level {task.kind} on {task.data}, {task.detector}). A "
            f"model for this kind of task was expected. Type `python -m benchmark list models`."
        )
