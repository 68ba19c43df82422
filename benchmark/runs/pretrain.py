"""Pre-training without a run after it: with the settings and the cache of `run`, which then finds the weights."""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import registry, tasks
from benchmark.contracts import Dataset
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import BenchmarkError, ConfigError, DataError
from benchmark.evaluation.token_probe import probe_score
from benchmark.hardware.distributed import after_first, from_first, join
from benchmark.hardware.environment import choose_device
from benchmark.io import atomic_path, atomic_write_json
from benchmark.plots.training_curves import draw_curves
from benchmark.runs.config import Request, RunConfig
from benchmark.runs.events import inputs_of
from benchmark.runs.execution import (
    Execution,
    Say,
    check_compiled,
    check_time,
    record_environment,
    set_up_torch,
    to_stderr,
)
from benchmark.runs.prepared import check_model, model_code
from benchmark.runs.pretrained import RECORD, WEIGHTS, Probing, Subject, finished, make
from benchmark.runs.resolve import resolve
from benchmark.seeding import seed_from
from benchmark.settings import as_dict
from benchmark.training.config import ProbeConfig

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel

CURVES = "curves.png"
PROBE_TOKENS = 3000  # fitted and scored at most: about a second, besides the encoding of some 20 events
SPLIT = "val"  # of the probe's labels; the test split decides nothing here


@dataclass(frozen=True)
class Pretraining:
    """What was made, or found."""

    record: dict[str, Any]
    folder: Path  # weights, training record, curves, logs
    fresh: bool
    out: Path | None  # where the weights were copied to

    @property
    def stopped(self) -> bool:
        """Ended by the time limit."""
        return "weights_sha256" not in self.record


def pretrain(
    request: Request, execution: Execution, out: Path | None = None, probe_every: int = 0, say: Say = to_stderr
) -> Pretraining:
    """Pre-train what a `run` of this request would pre-train, unless that is done; copy the weights to `out`.

    Beside `out` comes its training record, so that the pair is what `benchmark.checkpoints.shipped` reads. With
    `probe_every`, the token probe scores the model every so many steps, by labels of the validation split. Raises
    ConfigError, DataError.
    """
    started = time.monotonic()
    _check(request, out, probe_every)
    config = resolve(dataclasses.replace(request, pretrain=True))
    spec, device = registry.model_spec(request.model), choose_device(execution.device)
    check_model(spec, config, device)
    check_time(execution.max_minutes)
    check_compiled(execution.compiled, device)
    threads = set_up_torch(execution.threads)
    own = join(device)
    with after_first():
        dataset = registry.dataset_spec(config.dataset).open(config.data, execution.data)
        train = event_set(dataset, "train", config.task, config.preprocess)
        probing = _probing(config, dataset, probe_every)
    environment = record_environment(execution, device, config.train.precision, threads, own.n)
    subject = Subject(config, spec, train, dataset, environment, model_code(request.model), request.model)
    record = None if execution.force else finished(subject)
    if record is not None:
        return from_first(lambda: _hand_out(record, subject, False, out, say))
    if own.first:
        source = f"{dataset.info.name} ({dataset.revision})"
        where = f"{device}, {threads} threads" if device == "cpu" else device
        say(f"pre-training {config.model} [{config.preset}] on {len(subject.events())} events of {source}; {where}")
    model = _build(config, spec, dataset, device)
    deadline = None if execution.max_minutes is None else started + 60 * execution.max_minutes
    made = make(model, subject, execution.resume and not execution.force, deadline, probing)
    return from_first(lambda: _hand_out(made, subject, True, out, say))


def _check(request: Request, out: Path | None, probe_every: int) -> None:
    if not registry.model_spec(request.model).pretrains:
        names = [n for n in registry.model_names() if registry.model_spec(n).pretrains]
        raise ConfigError(
            f"{request.model} has no pre-training. A self-supervised model was expected ({', '.join(names)}). Correct "
            f"--model."
        )
    if out is not None and out.suffix != ".safetensors":
        raise ConfigError(f"--out {out} is no place for weights. A name that ends in .safetensors was expected.")
    if probe_every < 0:
        raise ConfigError(f"--probe-every {probe_every} is negative. A number of steps, or 0 for none, was expected.")
    asked = tasks.task(request.task)
    if probe_every and (asked.level in ("event", "volume") or asked.soft):
        raise ConfigError(
            f"--probe-every {probe_every} reads the classes of tokens, which {asked.name} does not have. A task with a "
            f"class per point was expected. Leave --probe-every out."
        )


def _build(config: RunConfig, spec: Any, dataset: Dataset, device: str) -> TorchModel:
    import torch

    torch.manual_seed(seed_from("weights", config.model, config.seed))
    model: TorchModel = spec.made(config.model_config, inputs_of(config, dataset), config.task)
    return model.to(device)


def _probing(config: RunConfig, dataset: Dataset, every: int) -> Probing | None:
    if not every:
        return None
    fitted, scored = _halves(event_set(dataset, SPLIT, config.task, config.preprocess))
    settings = ProbeConfig(max_tokens=PROBE_TOKENS)
    about = {
        "split": SPLIT,
        "every": every,
        "events": {"fitted": len(fitted), "scored": len(scored)},  # at hand; the first ones with enough tokens are read
        "settings": as_dict(settings),
    }
    return Probing(lambda model: probe_score(model, fitted, scored, settings), every, about)


def _halves(events: EventSet) -> tuple[EventSet, EventSet]:
    if len(events) < 2:
        raise DataError(
            f"The {SPLIT} split has {len(events)} usable event. At least two were expected, one for the probe to learn "
            f"from and one to be scored on. Leave --probe-every out."
        )
    first, second = (dataclasses.replace(events, indices=events.indices[start::2]) for start in (0, 1))
    return first, second


def _hand_out(record: dict[str, Any], subject: Subject, fresh: bool, out: Path | None, say: Say) -> Pretraining:
    folder = subject.folder
    if "weights_sha256" not in record:
        return Pretraining(record, folder, fresh, None)
    if fresh or not (folder / CURVES).is_file():
        try:
            draw_curves(record, folder / CURVES)
        except BenchmarkError as error:  # the weights are there all the same
            say(f"no picture of the curves: {error}")
    if out is not None:
        with atomic_path(out) as partial:
            shutil.copyfile(folder / WEIGHTS, partial)
        atomic_write_json(out.with_suffix(".json"), record)
    return Pretraining(record, folder, fresh, out)


__all__ = ["CURVES", "RECORD", "WEIGHTS", "Pretraining", "pretrain"]
