"""Shared by the studies of models: a pre-trained and an untrained model, and the tokens of one event as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from benchmark import registry
from benchmark.checkpoints.load import RELEASED_SUFFIX, load_backbone, open_checkpoint
from benchmark.contracts import ModelSpec, PointBatch, Task
from benchmark.contracts.safetensors_io import read_safetensors
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError
from benchmark.io import sha256_file
from benchmark.paths import shell_text
from benchmark.runs.commands import pretrain_command
from benchmark.runs.config import Request, RunConfig
from benchmark.runs.execution import Execution
from benchmark.runs.prepared import Prepared, identify, prepare
from benchmark.runs.pretrained import WEIGHTS, PretrainingJob, finished
from benchmark.studies.base import Events

if TYPE_CHECKING:
    from benchmark.contracts.token_model import TokenFeatures, TokenModel
    from benchmark.contracts.torch_model import TorchModel
    from benchmark.contracts.volume_model import VolumeModel

M = TypeVar("M", bound="TorchModel")

N_HOVER_TOKENS = 4  # tokens listed in a point's hover text


@dataclass(frozen=True)
class EncoderRequest:
    """Model, weights and events, as given on the command line."""

    model: str
    checkpoint: Path | None = None
    preset: str = "default"
    dataset: str | None = None  # None: the task's
    data: Path | None = None
    split: str = "test"
    seed: int = 0  # of the untrained weights, the masks and the choice of fitting events
    device: str = "auto"
    threads: int | None = None
    assignments: tuple[str, ...] = ()

    @property
    def of_volumes(self) -> bool:
        """Whether the model takes only volumes."""
        return registry.model_spec(self.model).data == ("volumes",)


@dataclass(frozen=True)
class Bench(Generic[M]):
    """Models and events of a study."""

    config: RunConfig
    trained: M
    untrained: M
    events: Events  # usable events of the split, all of them
    fitting: Events  # training events for fits; they are not shown
    device: str
    weights: dict[str, Any]  # which weights: file name, checksum, metadata

    @property
    def task(self) -> Task:
        """What the labels mean."""
        return self.config.task

    @property
    def unit(self) -> str:
        """Short name of the unit of length: `voxel` of `voxel of 3 mm`."""
        return self.events.dataset.info.frame.unit.split(" of ")[0]

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that determines the result, besides the events."""
        c = self.config
        return {"model": c.model, "preset": c.preset, "model_config": c.as_dict()["model_config"], "seed": c.seed,
                "weights": self.weights}  # fmt: skip

    def name_of(self, position: int) -> str:
        """Name of an event in figures: `test event 3`."""
        return f"{self.events.split} event {position}"

    def choose(self, positions: Sequence[int]) -> Events:
        """The events at these positions of the split. Raises ConfigError for one that does not exist."""
        n_events = len(self.events)
        for position in positions:
            if not 0 <= position < n_events:
                raise ConfigError(
                    f"There is no event {position}. The {self.events.split} split of {self.config.dataset} has "
                    f"{n_events} usable events, numbered from 0. Give another --event."
                )
        chosen = self.events.chosen
        return replace(self.events, chosen=replace(chosen, indices=chosen.indices[list(positions)]))


def open_encoders(request: EncoderRequest, n_fitting: int = 0, whole: bool = False) -> Bench[TokenModel]:
    """Open the data, build the model twice, and load the checkpoint into one of the two.

    `whole`: the checkpoint must hold the decoder too. Raises ConfigError for a model without tokens, and
    CheckpointError for weights of another architecture.
    """
    from benchmark.contracts.token_model import TokenModel

    return _open(request, TokenModel, "lartpc-segmentation", n_fitting, whole)  # type: ignore[type-abstract]


def open_volume_encoders(request: EncoderRequest, n_fitting: int = 0, whole: bool = False) -> Bench[VolumeModel]:
    """The same for a model on volumes."""
    from benchmark.contracts.volume_model import VolumeModel

    return _open(request, VolumeModel, "lif-segmentation", n_fitting, whole)  # type: ignore[type-abstract]


def _open(request: EncoderRequest, model_class: type[M], task: str, n_fitting: int, whole: bool) -> Bench[M]:
    spec = registry.model_spec(request.model)
    if not spec.pretrains:
        raise _not_a_token_model(spec.name)
    checkpoint = None if request.checkpoint is None else str(request.checkpoint)
    run_request = Request(
        request.model, task, dataset=request.dataset, preset=request.preset, seed=request.seed, checkpoint=checkpoint,
        assignments=request.assignments,
    )  # fmt: skip
    execution = Execution(device=request.device, threads=request.threads, data=request.data)
    prepared = prepare(identify(run_request, request.device), execution)
    trained, untrained = (_build(prepared, model_class) for _ in range(2))
    weights = _load(trained, prepared, whole)
    usable = prepared.events(request.split)
    fitting = prepared.train if n_fitting else usable
    trained.eval()
    untrained.eval()
    dataset = prepared.dataset
    return Bench(
        config=prepared.config,
        trained=trained,
        untrained=untrained,
        events=Events(dataset, request.split, request.seed, usable),
        fitting=Events(dataset, "train", request.seed, fitting.first(n_fitting, "study", request.seed)),
        device=prepared.device,
        weights=weights,
    )


def _build(prepared: Prepared, model_class: type[M]) -> M:
    model = prepared.build_model()
    if not isinstance(model, model_class):
        raise _not_a_token_model(prepared.config.model)
    return model


def _load(model: TorchModel, prepared: Prepared, whole: bool) -> dict[str, Any]:
    """Load weights into the model: the user's, the package's, or cached ones. Returns their metadata."""
    config, spec = prepared.config, prepared.spec
    path = Path(config.checkpoint) if config.checkpoint is not None else _pretrained_weights(prepared)
    metadata = load_backbone(model, path, spec, config.model_config, config.preprocess, config.pretext)
    if whole:
        _load_decoder(model, spec, path, str(metadata.get("stage", "")))
    return {"file": path.name, "sha256": sha256_file(path), **metadata}


def _pretrained_weights(prepared: Prepared) -> Path:
    """The package's weights where they fit, else those of a finished pre-training with these settings."""
    config, job = prepared.config, PretrainingJob(prepared)
    if config.weights is not None:
        return config.weights.checked()
    if finished(job) is None:
        wanted = pretrain_command(prepared.identity.request, prepared.execution)
        raise CheckpointError(
            f"There are no pre-trained weights of {config.model} with these settings. A finished pre-training or "
            f"--checkpoint was expected. Type `{shell_text(wanted)}` first."
        )
    return job.folder / WEIGHTS


def _load_decoder(model: TorchModel, spec: ModelSpec, path: Path, stage: str) -> None:
    """Load the decoder that the backbone was pre-trained with."""
    if stage == "finetune":
        raise CheckpointError(
            f"The checkpoint {path} is fine-tuned: its encoder no longer matches its decoder. Weights of "
            f"a pre-training were expected. Give another --checkpoint."
        )
    stored = open_checkpoint(path, spec.name).state if path.suffix == RELEASED_SUFFIX else read_safetensors(path)[0]
    decoder_ids = {id(t) for m in model.pretraining_only() for t in (*m.parameters(), *m.buffers())}
    decoder = {k: v for k, v in model.state_dict(keep_vars=True).items() if id(v) in decoder_ids}
    mismatched = sorted(k for k, v in decoder.items() if k not in stored or stored[k].shape != v.shape)
    if mismatched:
        raise CheckpointError(
            f"The checkpoint {path} lacks {len(mismatched)} tensors of the decoder, or has other shapes (first: "
            f"{mismatched[0]}). Weights of a pre-training with the same settings were expected. Give another "
            f"--checkpoint."
        )
    model.load_state_dict({k: stored[k] for k in decoder}, strict=False)


def _not_a_token_model(name: str) -> ConfigError:
    return ConfigError(
        f"{name} makes no tokens. A self-supervised model on tokens was expected, such as those that pre-train in "
        f"`python -m benchmark list models`. Correct --model."
    )


@dataclass(frozen=True)
class EventTokens:
    """One event and its tokens as numpy arrays."""

    batch: PointBatch  # numpy, of one event
    centres: np.ndarray  # (T, 3), in the unit of the coordinates
    features: np.ndarray  # (T, D)
    token: np.ndarray  # (M,) token of each member
    point: np.ndarray  # (M,) row of each member

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def event_id(self) -> str:
        """Id of the event."""
        return self.batch.event_ids[0]

    def majority(self, labels: np.ndarray) -> np.ndarray:
        """(T,) the most common of the non-negative labels (N,) among each token's members; -1 where there is none."""
        member_labels = labels[self.point]
        values = np.unique(member_labels[member_labels >= 0])
        if len(values) == 0:
            return np.full(len(self), -1, dtype=np.int64)
        counts = np.stack([np.bincount(self.token[member_labels == v], minlength=len(self)) for v in values], axis=1)
        winner: np.ndarray = np.where(counts.sum(1) > 0, values[counts.argmax(1)], -1)
        return winner

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(N, ...) values of points from those of tokens (T, ...): the mean over a point's tokens.

        A point in no token takes the value of the token with the nearest centre.
        """
        n_points = self.batch.n_points
        n_tokens = np.bincount(self.point, minlength=n_points)
        sums = np.zeros((n_points, *values.shape[1:]))
        np.add.at(sums, self.point, values[self.token])
        result: np.ndarray = sums / np.maximum(n_tokens, 1).reshape(-1, *(1,) * (values.ndim - 1))
        alone = np.flatnonzero(n_tokens == 0)
        result[alone] = values[self.nearest(self.batch.coords[alone])]
        return result

    def nearest(self, coords: np.ndarray) -> np.ndarray:
        """(n,) token whose centre is nearest to each position (n, 3)."""
        squared = ((coords[:, None, :] - self.centres[None]) ** 2).sum(2)
        token: np.ndarray = squared.argmin(1)
        return token

    def hover(self, task: Task, energy: np.ndarray, more: Iterable[str] = ()) -> list[str]:
        """(N,) hover text of each point: class, energy in MeV, tokens."""
        order = np.argsort(self.point, kind="stable")
        bounds = np.searchsorted(self.point[order], np.arange(self.batch.n_points + 1))
        target = np.asarray(self.batch.target)
        lines = []
        for i in range(self.batch.n_points):
            tokens = self.token[order[bounds[i] : bounds[i + 1]]]
            names = ", ".join(map(str, tokens[:N_HOVER_TOKENS])) + (" ..." if len(tokens) > N_HOVER_TOKENS else "")
            label = task.classes[target[i]] if target[i] >= 0 else "no class"
            lines.append(f"{label}\n{energy[i]:.3g} MeV\n" + (f"token {names}" if len(tokens) else "in no token"))
        extra = list(more)
        return [f"{a}\n{b}" for a, b in zip(lines, extra, strict=True)] if extra else lines


def tokens_of(model: TokenModel, batch: PointBatch, device: str) -> EventTokens:
    """Tokens of one event with all of them visible. Raises BenchmarkError where a feature is not finite."""
    return as_arrays(batch, model.token_features(batch.without_target().to_torch(device)))


def as_arrays(batch: PointBatch, tokens: TokenFeatures) -> EventTokens:
    """The contract's tensors as numpy arrays, checked."""
    features = _numpy(tokens.features)
    if len(features) == 0:
        raise BenchmarkError(
            f"Event {batch.event_ids[0]} has no token. At least one was expected. Choose another --event."
        )
    if not np.isfinite(features).all():
        raise BenchmarkError(
            f"The model's features of event {batch.event_ids[0]} hold NaN or infinity. Finite numbers were expected. "
            f"Give another --checkpoint."
        )
    return EventTokens(batch, _numpy(tokens.centres), features, _numpy(tokens.token), _numpy(tokens.point))


def _numpy(tensor: Any) -> np.ndarray:
    array: np.ndarray = tensor.detach().float().cpu().numpy() if tensor.is_floating_point() else tensor.cpu().numpy()
    return array


def each(model: TokenModel, events: Events, device: str) -> Iterator[EventTokens]:
    """Tokens of every event, one event at a time."""
    return (tokens_of(model, batch, device) for batch in events)


def positions(text: str) -> list[int]:
    """`0,3,5-7` as numbers. Raises ConfigError."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"--event {text!r} is no list of events. Numbers were expected. Type --event 0,3,5-7.")
        numbers += range(int(first), int(last) + 1) if dash else [int(first)]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ConfigError(f"--event {text!r} names no event, or one twice. Type for example --event 0-2.")
    return numbers


def one_position(text: str) -> int:
    """A single event. Raises ConfigError."""
    numbers = positions(text)
    if len(numbers) != 1:
        raise ConfigError(f"--event {text!r} names {len(numbers)} events. One was expected. Type --event {numbers[0]}.")
    return numbers[0]


def point_position(text: str) -> tuple[float, float, float]:
    """`x,y,z`. Raises ConfigError."""
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--point {text!r} is no position. Three numbers were expected. Type --point 384,400,90."
        ) from None
    return x, y, z
