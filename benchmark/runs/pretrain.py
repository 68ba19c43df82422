"""Pre-training without a run after it, with the settings and the cache of `run`."""

from __future__ import annotations

import dataclasses
import glob
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import registry, tasks
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.evaluation.point_probe import PointProbeConfig, point_probe_score, split_in_parts
from benchmark.evaluation.token_probe import probe_score
from benchmark.hardware.distributed import after_first, from_first, processes
from benchmark.hardware.locks import locked_folder
from benchmark.io import atomic_path, atomic_write_json
from benchmark.plots.training_curves import draw_curves
from benchmark.progress import to_stderr
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution, Say, say_nothing
from benchmark.runs.prepared import Prepared, identify, prepare
from benchmark.runs.pretrained import RECORD, WEIGHTS, PretrainingJob, Probing, finished_or_run
from benchmark.runs.pretraining_cost import cost_message
from benchmark.settings import as_dict
from benchmark.training.config import ProbeConfig

CURVES = "curves.png"
PROBE_TOKENS = 3000  # fitted and scored at most: about a second, besides the encoding of some 20 events
SPLIT = "val"  # of the probe's labels; the test split stays unused


@dataclass(frozen=True)
class Pretraining:
    """A pre-training, new or cached."""

    record: dict[str, Any]
    folder: Path  # weights, training record, curves, logs
    fresh: bool
    out: Path | None  # copy of the weights

    @property
    def stopped(self) -> bool:
        """Whether the time limit ended it."""
        return "weights_sha256" not in self.record

    @property
    def weights(self) -> Path | None:
        """Where the weights lie; None where the time limit ended pre-training."""
        return None if self.stopped else self.folder / WEIGHTS


def pretrain(
    request: Request, execution: Execution, out: Path | None = None, probe_every: int = 0, say: Say = to_stderr
) -> Pretraining:
    """Pre-train what a `run` of this request would pre-train, unless cached; copy the weights to `out`.

    The training record is copied beside `out`; `benchmark.checkpoints.shipped` reads the pair. A linear SVM on the
    model's features is scored every `probe_every` steps (0: never), with labels of the validation split. Raises
    ConfigError, DataError.
    """
    _check_request(request, out, probe_every)
    prepared = prepare(identify(dataclasses.replace(request, pretrain=True), execution.device), execution)
    with after_first():
        job, probing = PretrainingJob(prepared), _probe_setup(prepared, probe_every)
        n_events = len(job.events())
    report = say if processes().first else say_nothing

    def announce() -> None:
        c = prepared.config
        report(f"{c.method} [{c.preset}] on {prepared.source}; {prepared.machine.place}")
        report(cost_message(prepared.identity, job.settings, n_events))

    model: Any = prepared.build_model()  # a torch model: only those pre-train
    record, fresh = finished_or_run(model, job, announce, report, probing, execution.force)
    return from_first(lambda: _write_outputs(record, job, fresh, out, say))


def _check_request(request: Request, out: Path | None, probe_every: int) -> None:
    spec = registry.model_spec(request.model)
    if not spec.pretrains and spec.pretext is None and request.pretext is None:
        names = ", ".join(_pretraining_models())
        other = f", or give --pretext ({', '.join(registry.pretext_names())})" if spec.has_point_features else ""
        raise ConfigError(
            f"{request.model} has no pre-training of its own. A self-supervised model was expected ({names}). Correct "
            f"--model{other}."
        )
    if out is not None and out.suffix != ".safetensors":
        raise ConfigError(f"--out {out} is not a file for weights. A name that ends in .safetensors was expected.")
    if probe_every < 0:
        raise ConfigError(f"--probe-every {probe_every} is negative. A number of steps, or 0 for none, was expected.")
    task = tasks.task(request.task)
    if probe_every and (task.level in ("event", "volume") or task.soft):
        raise ConfigError(
            f"--probe-every {probe_every} reads the classes of points or tokens, which {task.name} does not have. A "
            f"task with a class per point was expected. Leave --probe-every out."
        )


def _pretraining_models() -> list[str]:
    """Names of the models with pre-training; those that cannot be imported here are left out."""
    specs = []
    for name in registry.model_names():
        with suppress(BenchmarkError):  # `list models` says why
            specs.append(registry.model_spec(name))
    return [spec.name for spec in specs if spec.pretrains or spec.pretext is not None]


def _probe_setup(prepared: Prepared, every: int) -> Probing | None:
    """The probe of points where a pretext trains features of points, else that of tokens."""
    if not every:
        return None
    return _probing_points(prepared, every) if prepared.config.pretext is not None else _probing_tokens(prepared, every)


def _probing_tokens(prepared: Prepared, every: int) -> Probing:
    fitted, scored = split_in_parts(prepared.events(SPLIT), 2)
    settings = ProbeConfig(max_tokens=PROBE_TOKENS)
    description = {
        "split": SPLIT,
        "every": every,
        # available; the probe reads the first ones with enough tokens
        "events": {"fitted": len(fitted), "scored": len(scored)},
        "settings": as_dict(settings),
    }
    return Probing(lambda model: probe_score(model, fitted, scored, settings), every, description)


def _probing_points(prepared: Prepared, every: int) -> Probing:
    settings, available = PointProbeConfig(), prepared.events(SPLIT)
    names = ("fitted", "chosen_on", "scored")
    parts = [part.first(settings.max_events, "probe") for part in split_in_parts(available, len(names))]
    fitted, chosen_on, scored = parts
    description = {
        "of": "points",
        "split": SPLIT,
        "every": every,
        "events": {name: len(part) for name, part in zip(names, parts, strict=True)},
        "settings": as_dict(settings),
    }

    def scores(trained: Any) -> dict[str, float]:
        return point_probe_score(trained.model, fitted, chosen_on, scored, settings)  # of a `PretextTraining`

    return Probing(scores, every, description)


def _write_outputs(record: dict[str, Any], job: PretrainingJob, fresh: bool, out: Path | None, say: Say) -> Pretraining:
    folder = job.folder
    if "weights_sha256" not in record:
        return Pretraining(record, folder, fresh, None)
    if fresh or not (folder / CURVES).is_file():
        try:
            with locked_folder(folder, f"the pre-training {folder.name}", say):
                draw_curves(record, folder / CURVES)
        except BenchmarkError as error:  # the weights are written anyway
            say(f"the curves are not drawn: {error}")
    if out is not None:
        with locked_folder(out.parent, f"the weights {out}", say, leftovers=f".{glob.escape(out.stem)}.*.partial"):
            with atomic_path(out) as partial:
                shutil.copyfile(folder / WEIGHTS, partial)
            atomic_write_json(out.with_suffix(".json"), record)
    return Pretraining(record, folder, fresh, out)


__all__ = ["CURVES", "RECORD", "WEIGHTS", "Pretraining", "pretrain"]
