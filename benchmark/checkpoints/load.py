"""Reads checkpoints of any origin, builds their models, and loads weights into models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import hub, registry, tasks
from benchmark.checkpoints.lightning import read_lightning
from benchmark.checkpoints.manifest import Manifest, describes_itself, from_metadata
from benchmark.checkpoints.shipped import as_plain, seen_in_pretraining
from benchmark.contracts import ModelSpec, Task
from benchmark.contracts.pretext import method_name
from benchmark.contracts.safetensors_io import read_safetensors, write_safetensors
from benchmark.data.preparation import Preparation, model_inputs, preparation
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError
from benchmark.io import sha256_file
from benchmark.paths import shown_path
from benchmark.settings import as_dict, override

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchmark.contracts.torch_model import TorchModel

RELEASED_SUFFIX = ".ckpt"
_SPARE_ELEMENTS = 100_000_000  # a model's, beyond its checkpoint (the other stage's part)
_SPARE_TENSORS = 10_000


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory."""

    path: Path
    manifest: Manifest
    state: Mapping[str, Tensor]  # under our names; a released checkpoint has been converted
    name: str = ""  # as typed, where that is no path: hub:owner/name

    @property
    def source(self) -> str:
        """How records name it."""
        return self.name or shown_path(str(self.path))

    @property
    def is_released(self) -> bool:
        """Whether a publication's code wrote it; such a file does not name its model."""
        return self.path.suffix == RELEASED_SUFFIX

    def build(self) -> TorchModel:
        """The model with these weights. The other stage's part may stay random."""
        model = _bounded_model(self.path, self.manifest, self.state)
        fill(model, self)
        return model

    def require_head(self) -> None:
        """Raises CheckpointError where only the backbone is trained, so that there is nothing to predict with."""
        if self.manifest.stage != "finetune":
            pretext = f" --pretext {self.manifest.pretext}" if self.manifest.pretext else ""
            raise CheckpointError(
                f"{self.path} is of pre-training and has no trained head. A fine-tuned checkpoint was expected. "
                f"Train one: `python -m benchmark run --model {self.manifest.model}{pretext} --checkpoint {self.path}`."
            )

    def save(self, path: Path) -> None:
        """Write it as safetensors with its manifest, atomically."""
        write_safetensors(path, self.state, self.manifest.metadata())


def resolve_checkpoint(text: str) -> Path:
    """The file of a checkpoint given as a path or as hub:owner/name[@revision][:file], which is fetched."""
    path = hub.cached_file(text) if hub.is_remote(text) else Path(text)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {text}. A file was expected. Correct --checkpoint.")
    return path


def named_checkpoint(text: str, model: str | None = None) -> Checkpoint:
    """`open_checkpoint` of a path or of hub:owner/name[@revision][:file], which is fetched."""
    opened = open_checkpoint(resolve_checkpoint(text), model)
    return replace(opened, name=text) if hub.is_remote(text) else opened


def open_checkpoint(path: Path, model: str | None = None) -> Checkpoint:
    """A checkpoint of ours, or a released one (.ckpt), which needs its `model` named. Raises CheckpointError."""
    if path.suffix == RELEASED_SUFFIX:
        if model is None:
            raise CheckpointError(
                f"{path} is a released checkpoint, which does not name its model. --model was expected. Type --model "
                f"polarmae, for example."
            )
        return open_released(path, model)
    state, metadata = read_safetensors(path)
    manifest = from_metadata(path, metadata)
    if model is not None and registry.canonical(model) != registry.canonical(manifest.model):
        raise CheckpointError(
            f"{path} is a checkpoint of {manifest.model}. One of {model} was expected. Type --model {manifest.model}."
        )
    return Checkpoint(path, manifest, state)


def fill(model: TorchModel, checkpoint: Checkpoint) -> None:
    """Load all tensors of the checkpoint's stage; none may be missing, unknown or misshaped."""
    model_state = model.state_dict(keep_vars=True)
    backbone, decoder = (_module_keys(model_state, modules) for modules in (model.backbone(), model.pretraining_only()))
    needed = backbone | decoder if checkpoint.manifest.stage == "pretrain" else set(model_state) - decoder
    _check_tensors(checkpoint, {k: tuple(v.shape) for k, v in model_state.items()}, needed)
    model.load_state_dict(dict(checkpoint.state), strict=False)


def load_backbone(
    model: TorchModel, path: Path, spec: ModelSpec, model_config: Any, preprocess: Preparation,
    pretext: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Load only the backbone's weights for a run; returns what its record says of them.

    The checkpoint may be of any stage, ours or released. Raises CheckpointError where its backbone, its pretext or its
    feature columns are not those of the run, and says what to type.
    """
    if path.suffix != RELEASED_SUFFIX:
        state, metadata = read_safetensors(path)
        if not describes_itself(metadata):  # no manifest: only names and shapes are checked
            model.load_backbone(path)
            return {}
        checkpoint = Checkpoint(path, from_metadata(path, metadata), state)
    else:
        checkpoint = open_checkpoint(path, spec.name)
    _check_fits_run(checkpoint, spec, model_config, preprocess)
    _check_pretext(checkpoint, spec, pretext)
    model_state = model.state_dict(keep_vars=True)
    names = _module_keys(model_state, model.backbone())
    backbone = replace(checkpoint, state={k: v for k, v in checkpoint.state.items() if k in names})
    _check_tensors(backbone, {k: tuple(model_state[k].shape) for k in names}, names)
    model.load_state_dict(dict(backbone.state), strict=False)
    return {"stage": checkpoint.manifest.stage, "origin": dict(checkpoint.manifest.origin)}


def open_released(path: Path, model: str) -> Checkpoint:
    """A checkpoint that the code of the model's publication wrote, converted. Raises CheckpointError."""
    spec = registry.model_spec(model)
    if spec.import_released is None:
        raise CheckpointError(
            f"{spec.name} cannot read released checkpoints such as {path}. A .safetensors file of ours was expected. "
            f"Choose another --model, or another file."
        )
    released = read_lightning(path)
    try:
        imported = spec.import_released(released)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    settings = as_dict(override(preparation(tasks.task(imported.task)), imported.preprocess, "preprocess"))
    manifest = Manifest(
        model=spec.name,
        stage=imported.stage,
        task=imported.task,
        task_version=tasks.task(imported.task).version,
        model_config=as_dict(imported.model_config),
        preprocess=settings,
        frame=as_dict(imported.frame),
        batch_size=imported.batch_size,
        origin={"released": path.name, "sha256": sha256_file(path)},
        training=imported.training,
    )
    template = _bounded_model(path, manifest, released.state)
    try:
        state = imported.convert(template.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(path, manifest, state)


def _torch_model(spec: ModelSpec, manifest: Manifest) -> Any:
    from benchmark.contracts.torch_model import TorchModel

    config = override(spec.config(), manifest.model_config, "model")
    inputs = model_inputs(manifest.preprocessing(), manifest.detector_frame(), manifest.pretext or None)
    model = spec.build_model(config, inputs, manifest.known_task())
    if not isinstance(model, TorchModel):
        raise CheckpointError(
            f"{spec.name} is not a torch model. A checkpoint of a torch model was expected. Score it with `python -m "
            f"benchmark transfer RECORD`."
        )
    return model


def _bounded_model(path: Path, manifest: Manifest, state: Mapping[str, Tensor]) -> TorchModel:
    """The manifest's model with random weights. Raises CheckpointError if it is far larger than the file."""
    import torch

    spec = registry.model_spec(manifest.model)
    limit = sum(t.numel() for t in state.values()) + _SPARE_ELEMENTS
    try:
        with _limit_parameters(limit, len(state) + _SPARE_TENSORS), torch.random.fork_rng(devices=[]):
            model: TorchModel = _torch_model(spec, manifest)
    except (_TooLargeError, RuntimeError, MemoryError, ArithmeticError) as error:  # torch: no memory, impossible shapes
        raise CheckpointError(
            f"{path} describes a model that does not fit the file. The sizes of its own tensors were expected. Fetch "
            f"the checkpoint again."
        ) from error
    except BenchmarkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return model


class _TooLargeError(Exception):
    pass


@contextmanager
def _limit_parameters(n_elements: int, n_tensors: int) -> Iterator[None]:
    """Abort building a model with more parameters than this. Not thread-safe."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    remaining = [n_elements, n_tensors]

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        remaining[0] -= 0 if parameter is None else parameter.numel()
        remaining[1] -= 1
        if min(remaining) < 0:
            raise _TooLargeError

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _module_keys(model_state: Mapping[str, Any], modules: Any) -> set[str]:
    """Keys of a state dict that belong to some of the model's modules."""
    ids = {id(t) for m in modules for t in (*m.parameters(), *m.buffers())}
    return {k for k, v in model_state.items() if id(v) in ids}


def _check_tensors(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]], needed: set[str]) -> None:
    state = checkpoint.state
    missing, unknown = sorted(needed - set(state)), sorted(set(state) - set(shapes))
    misshaped = [
        f"{k} is {tuple(v.shape)}, not {shapes[k]}"
        for k, v in sorted(state.items())
        if k in shapes and tuple(v.shape) != shapes[k]
    ]
    for names, problem in ((missing, "lacks"), (unknown, "holds unknown"), (misshaped, "has misshaped")):
        if names:
            raise CheckpointError(
                f"The checkpoint {checkpoint.path} {problem} {len(names)} tensors (first: {names[0]}). Those of a "
                f"{checkpoint.manifest.model} with the checkpoint's configuration were expected. Type `python -m "
                f"benchmark checkpoint info {checkpoint.path}`."
            )


def _check_fits_run(checkpoint: Checkpoint, spec: ModelSpec, model_config: Any, preprocess: Preparation) -> None:
    """Check that model and inputs of the run match the checkpoint's. Raises CheckpointError."""
    manifest = checkpoint.manifest
    if registry.canonical(manifest.model) != registry.canonical(spec.name):
        raise CheckpointError(
            f"{checkpoint.path} is a checkpoint of {manifest.model}. One of {spec.name} was expected. Type --model "
            f"{manifest.model}."
        )
    checkpoint_settings = {f"preprocess.{k}": v for k, v in manifest.preprocess.items() if k in _INPUT_FIELDS}
    run_settings = {f"preprocess.{k}": v for k, v in as_dict(preprocess).items()}
    checkpoint_settings |= {f"model.{k}": v for k, v in _backbone_settings(spec, manifest.model_config).items()}
    run_settings |= {f"model.{k}": v for k, v in as_plain(model_config).items()}
    different = [k for k, v in checkpoint_settings.items() if run_settings.get(k) != v]
    if not different:
        return
    values = ", ".join(
        f"{k}={_format_value(checkpoint_settings[k])} and not {_format_value(run_settings.get(k))}"
        for k in different[:3]
    )
    more = f" and {len(different) - 3} more settings" if len(different) > 3 else ""
    raise CheckpointError(
        f"{checkpoint.path} was made with {values}{more}. The run's own model was expected. Type "
        f"{_closest_options(spec, manifest, checkpoint_settings)}."
    )


def _backbone_settings(spec: ModelSpec, model_config: Any) -> dict[str, Any]:
    """Settings that a run from these weights must share: the declared ones, or without any all but the head's.

    Which engine computes a sparse convolution changes no result.
    """
    if spec.backbone_config:
        return {k: v for k, v in as_plain(model_config).items() if k in spec.backbone_config}
    return {k: v for k, v in seen_in_pretraining(spec, model_config).items() if k != "backend"}


def _check_pretext(checkpoint: Checkpoint, spec: ModelSpec, pretext: str | None) -> None:
    """Raises CheckpointError where the weights are not of the run's pretext."""
    found = checkpoint.manifest.pretext or None
    if found == pretext:
        return
    remedy = f"Type --pretext {found}" if found else "Choose another --checkpoint"
    raise CheckpointError(
        f"{checkpoint.path} is a checkpoint of {method_name(spec.name, found)}. One of "
        f"{method_name(spec.name, pretext)} was expected. {remedy}."
    )


_INPUT_FIELDS = ("columns", "event_columns", "log_eps_mev")  # of a preprocessing: inputs of the backbone


def _closest_options(spec: ModelSpec, manifest: Manifest, checkpoint_settings: Mapping[str, Any]) -> str:
    """The preset and the fewest --set options that give these settings."""
    task = tasks.task(manifest.task)
    options = {name: _set_options(spec, name, task, checkpoint_settings) for name in spec.presets}
    closest = min(options, key=lambda name: len(options[name]))
    needed = [k.removeprefix("model.") for k in checkpoint_settings if k.startswith("model.")]
    try:
        model_settings = {**spec.preset(closest, task.detector).model, **{k: manifest.model_config[k] for k in needed}}
        override(spec.config(), model_settings, "model")
    except ConfigError:  # dependent settings, such as the blocks that a head reads
        all_settings = {f"model.{k}": v for k, v in manifest.model_config.items()}
        options[closest] = _set_options(spec, closest, task, {**checkpoint_settings, **all_settings})
    return " ".join([f"--preset {closest}", *options[closest]])


def _set_options(spec: ModelSpec, preset: str, task: Task, target: Mapping[str, Any]) -> list[str]:
    model_settings = as_dict(override(spec.config(), spec.preset(preset, task.detector).model, "model"))
    current = {f"model.{k}": v for k, v in model_settings.items()}
    current |= {f"preprocess.{k}": v for k, v in as_dict(preparation(task)).items()}
    return [f"--set {k}={_format_value(v)}" for k, v in target.items() if current.get(k) != v]


def _format_value(value: Any) -> str:
    return ",".join(str(v) for v in value) if isinstance(value, list) else str(value)
