"""A small search for the learning rate: the same grid for every model, scored on the validation split, recorded.

Each trial trains on the labelled events of the budget by the loop of every run, and is scored by the suite's own
metric. The test split is not opened. Optuna walks the grid and keeps its journal below `runs/tune`: a search that was
interrupted goes on where it stopped, and a wider grid repeats no rate that is finished.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import tasks
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.hardware.distributed import processes
from benchmark.io import sha256_text
from benchmark.records.record import describe_dataset, describe_task, now
from benchmark.records.tuning import SPLIT, Tuning, best_of, find_tuning, is_at_edge, write_tuning
from benchmark.runs.config import Request
from benchmark.runs.events import RunEvents, bootstrap_rng, open_events
from benchmark.runs.execution import Execution, Say, to_stderr
from benchmark.runs.fingerprint import Identity
from benchmark.runs.prepared import Prepared, identify, prepare
from benchmark.runs.pretrained import load_pretrained
from benchmark.runs.resolve import resolve
from benchmark.runs.supervised import train_on_labels
from benchmark.seeding import seed_from
from benchmark.settings import parse_assignments

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel
    from benchmark.training.fit import FitReport

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
JOURNAL = "journal.log"
_LARGEST_SEED = 2**32


@dataclass(frozen=True)
class Search:
    """What is asked for beside the run itself."""

    rates: tuple[float, ...] = RATES  # ascending
    steps: int | None = None  # of each trial; None: as many as the run has
    out: Path | None = None  # where the result goes; None: `tuning` in the folder of runs


@dataclass(frozen=True)
class TuningOutcome:
    """The result of a search, and whether this call made it."""

    tuning: Tuning
    fresh: bool


@dataclass(frozen=True)
class _TrialSetup:
    """What all trials share."""

    prepared: Prepared  # with the trials' number of steps
    events: RunEvents  # scored on the validation split
    fingerprint: str  # of the search, whatever its grid
    environment: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Of journal, logs and states."""
        return self.prepared.execution.runs / "tune" / f"{self.prepared.config.model}-{self.fingerprint[:16]}"

    def model(self) -> TorchModel:
        """A new model with the weights that a run of this seed starts from, pre-training aside."""
        from benchmark.contracts.torch_model import TorchModel

        model = self.prepared.build_model()
        if not isinstance(model, TorchModel):
            raise ConfigError(
                f"{self.prepared.config.model} has no learning rate to search for. A model that is trained step by "
                f"step was expected. Run it as it is."
            )
        return model


def parse_rates(text: str) -> tuple[float, ...]:
    """Learning rates from the command line, ascending. Raises ConfigError."""
    try:
        rates = sorted({float(part) for part in text.split(",")})
    except ValueError:
        rates = []
    if len(rates) < 2 or not all(math.isfinite(r) and r > 0 for r in rates):
        raise ConfigError(
            f"--rates {text!r} is no grid. Two or more different learning rates above 0, with commas between them, "
            f"were expected. Type for example --rates {','.join(f'{r:g}' for r in RATES)}."
        )
    return tuple(rates)


def tune(request: Request, execution: Execution, search: Search, say: Say = to_stderr) -> TuningOutcome:
    """Try every rate of the grid, write the result and return it; one that is recorded already is not made again.

    Raises ConfigError for what has no learning rate, and what `run` raises for the same request.
    """
    _check(request, search)
    optuna = _optuna()
    setup = _set_up(request, execution, search, optuna.__version__)
    model = setup.model()
    blank = _unfinished_tuning(setup, search)
    root = search.out or execution.runs / "tuning"
    recorded = None if execution.force else find_tuning(root, blank)
    if recorded is not None:
        return TuningOutcome(recorded, fresh=False)
    say(_announcement(setup, search))
    config = setup.prepared.config
    if config.starts_pretrained:
        load_pretrained(model, setup.prepared, say)
    trials = _try_rates(optuna, setup, search, _Trial(setup, dict(model.state_dict()), say))
    best = best_of(trials, config.task.smaller_is_better)
    result = dataclasses.replace(
        blank, created=now(), trials=trials, best_rate=best, at_edge=is_at_edge(best, blank.rates),
        environment={**setup.environment, "backends": dict(model.backends)},
    )  # fmt: skip
    write_tuning(root, result)
    return TuningOutcome(result, fresh=True)


def _set_up(request: Request, execution: Execution, search: Search, optuna_version: str) -> _TrialSetup:
    identity = identify(request, execution.device)
    if search.steps is not None:
        train = dataclasses.replace(identity.config.train, steps=search.steps)
        identity = dataclasses.replace(identity, config=dataclasses.replace(identity.config, train=train))
    prepared = prepare(identity, execution)
    environment = dict(prepared.environment)
    environment["versions"] = {**environment["versions"], "optuna": optuna_version}
    name = _fingerprint(identity, prepared.dataset.revision)
    return _TrialSetup(prepared, open_events(prepared, SPLIT), name, environment)


def advice(tuning: Tuning) -> str | None:
    """One sentence where the grid did not enclose the best rate: what that means, and which grid to try."""
    if tuning.best_rate is None:
        lower = ",".join(f"{r / 30:.1g}" for r in tuning.rates)
        return f"No rate trained the model: try lower ones, --rates {lower}."
    if not tuning.at_edge:
        return None
    rates = tuning.rates
    low = tuning.best_rate == rates[0]
    beyond = rates[0] ** 2 / rates[1] if low else rates[-1] ** 2 / rates[-2]
    wider = [beyond, *rates] if low else [*rates, beyond]
    return (
        f"The best rate, {tuning.best_rate:g}, is the {'smallest' if low else 'largest'} of the grid, so that a better "
        f"one may lie beyond it: try --rates {','.join(f'{r:.2g}' for r in wider)} (finished trials are not repeated)."
    )


def run_command(tuning: Tuning, request: Request, data: Path | None = None) -> str | None:
    """The `run` to type with the rate that was found; None where none was."""
    if tuning.best_rate is None:
        return None
    typed = ["python", "-m", "benchmark", "run", "--model", request.model, "--labels", str(request.labels)]
    plain = Request(request.model, dataset=tasks.task(request.task).dataset)
    for field in ("task", "dataset", "preset", "mode", "draw", "seed"):
        value = getattr(request, field)
        if value not in (None, getattr(plain, field)):
            typed += [f"--{field}", str(value)]
    if data is not None:
        typed += ["--data", str(data)]
    for assignment in (*request.assignments, f"optim.lr={tuning.best_rate:g}"):
        typed += ["--set", assignment]
    return shlex.join(typed)


class _Interrupted(BaseException):
    """Carries what ended a trial past optuna, which would else take the trial for a failed one and not repeat it."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


class _Trial:
    """Trains and scores with one rate."""

    def __init__(self, setup: _TrialSetup, start: Mapping[str, Any], say: Say) -> None:
        self.setup, self.say = setup, say
        self.start = {name: value.clone() for name, value in start.items()}  # the weights that every trial starts from

    def __call__(self, rate: float) -> dict[str, Any]:
        """The trial's entry in the record. A loss or scores that are no numbers fail it; other errors are raised."""
        try:
            report, result = self._scored(rate)
        except BenchmarkError as error:
            if type(error) is not BenchmarkError:  # a setting, a file, the disk: not the rate's fault
                raise
            return {**_EMPTY, "rate": rate, "status": "failed", "error": str(error)}
        score = result.metrics["overall"][self.setup.prepared.config.task.primary_metric]
        if score["value"] is None:
            return {**_EMPTY, "rate": rate, "status": "failed", "error": "the score is not defined on these events"}
        return {
            "rate": rate,
            "status": "finished",
            "error": None,
            "score": score,
            "f1": {n: scores["f1"]["value"] for n, scores in result.metrics["per_class"].items() if "f1" in scores},
            "steps": report.steps,
            "first_loss": report.first_loss,
            "last_loss": report.last_loss,
            "grad_norm": report.grad_norm,
            "trained": _loss_decreased(report),
            "wall_s": round(report.wall_s + result.wall_s, 2),
        }

    def _scored(self, rate: float) -> tuple[FitReport, Evaluation]:
        """As `run` does it, with another rate and on another split."""
        prepared, events = self.setup.prepared, self.setup.events
        config = dataclasses.replace(prepared.config, optim=dataclasses.replace(prepared.config.optim, lr=rate))
        model = self.setup.model()
        model.load_state_dict(self.start)
        self.say(f"learning rate {rate:g}")
        report = train_on_labels(model, prepared.with_config(config), events.labelled, self.folder(rate))
        rng = bootstrap_rng(config.task, prepared.dataset)
        return report, evaluate(model, events.scored, config.train.batch_size, rng, split=SPLIT)

    def folder(self, rate: float) -> Path:
        """Where the trial keeps its logs, and its states while it is unfinished."""
        return self.setup.folder / f"lr-{rate!r}"


_EMPTY: dict[str, Any] = {
    "score": None, "f1": {}, "steps": None, "first_loss": None, "last_loss": None, "grad_norm": None,
    "trained": False, "wall_s": None,
}  # fmt: skip


def _try_rates(optuna: Any, setup: _TrialSetup, search: Search, attempt: _Trial) -> list[dict[str, Any]]:
    """Every rate of the grid once, in an order drawn by the seed; entries of the record, by rate.

    A trial whose loss is no number is one of optuna's failed trials; one that was interrupted is left running in the
    journal, so that the grid's sampler comes back to it.
    """
    from benchmark.training.states import delete_checkpoints

    journal, config = setup.folder / JOURNAL, setup.prepared.config
    if not setup.prepared.resume:
        journal.unlink(missing_ok=True)
    setup.folder.mkdir(parents=True, exist_ok=True)
    direction = "minimize" if config.task.smaller_is_better else "maximize"
    study = _study(optuna, journal, search.rates, seed_from("grid", config.seed) % _LARGEST_SEED, direction)
    done = _finished(study)

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("lr", search.rates[0], search.rates[-1])
        try:
            result = done.get(rate) or attempt(rate)
        except BaseException as error:
            raise _Interrupted(error) from error
        trial.set_user_attr("result", json.dumps(result))
        done[rate] = result
        delete_checkpoints(attempt.folder(rate))  # not earlier: a result that cannot be kept must cost no training
        if result["status"] == "failed":
            raise _Diverged
        return float(result["score"]["value"])

    if set(search.rates) - set(done):
        try:
            study.optimize(objective, catch=(_Diverged,))
        except _Interrupted as stop:
            raise stop.cause from None
    return [done[rate] for rate in search.rates]


class _Diverged(Exception):
    """Tells optuna that a trial failed."""


def _study(optuna: Any, journal: Path, rates: Sequence[float], seed: int, direction: str) -> Any:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # the suite tells the user itself
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    storage = optuna.storages.JournalStorage(backend)
    sampler = optuna.samplers.GridSampler({"lr": list(rates)}, seed=seed)
    return optuna.create_study(
        storage=storage, sampler=sampler, study_name="lr", direction=direction, load_if_exists=True
    )


def _finished(study: Any) -> dict[float, dict[str, Any]]:
    """Rate -> entry of the trials that came to an end, also under an earlier grid."""
    found: dict[float, dict[str, Any]] = {}
    for trial in study.get_trials(deepcopy=False):
        if "result" in trial.user_attrs and trial.state.is_finished():
            result = json.loads(trial.user_attrs["result"])
            found.setdefault(result["rate"], result)
    return found


def _fingerprint(identity: Identity, revision: str) -> str:
    """Names the search whatever its grid: all that decides the result of a trial at a given rate."""
    settings = {k: v for k, v in identity.config.as_dict().items() if k != "checkpoint"}
    settings["optim"] = {k: v for k, v in settings["optim"].items() if k != "lr"}
    hardware = [identity.device, identity.precision]
    parts = {"config": settings, "split": SPLIT, "data": revision, "code": identity.code, "hardware": hardware}
    return sha256_text(json.dumps(parts, sort_keys=True))


def _unfinished_tuning(setup: _TrialSetup, search: Search) -> Tuning:
    """The record of a search before its trials."""
    prepared, events = setup.prepared, setup.events
    return Tuning(
        fingerprint=setup.fingerprint, created=now(), command=list(prepared.execution.command),
        config=prepared.config.as_dict(), task=describe_task(prepared.config.task),
        dataset=describe_dataset(prepared.dataset),
        events={
            "labelled": len(events.labelled), "selection": len(events.scored),
            "excluded": {"train": events.labelled.excluded, SPLIT: events.scored.excluded},
        },
        subset_sha256=events.subset.sha256, code_sha256=prepared.identity.code, rates=list(search.rates), trials=[],
        best_rate=None, at_edge=False, environment=setup.environment,
    )  # fmt: skip


def _loss_decreased(report: FitReport) -> bool:
    """Whether the loss at the end is below that of the first step."""
    return report.first_loss is not None and report.last_loss is not None and report.last_loss < report.first_loss


def _announcement(setup: _TrialSetup, search: Search) -> str:
    c, events = setup.prepared.config, setup.events
    return (
        f"{c.model} [{c.preset}, {c.mode}] on {c.task.name}, {setup.prepared.source}: {len(search.rates)} learning "
        f"rates, {c.train.steps} steps each on {len(events.labelled)} labelled events, scored on {len(events.scored)} "
        f"validation events; {setup.prepared.machine.place}"
    )


def _check(request: Request, search: Search) -> None:
    typed = {"optim.lr", "lr"} & set(parse_assignments(list(request.assignments)))
    if typed:
        raise ConfigError(
            f"--set {typed.pop()} fixes what the search is for. Other settings were expected. Give the learning rates "
            f"with --rates."
        )
    if search.steps is not None and search.steps < 1:
        raise ConfigError(
            f"--steps {search.steps} is not possible. A number from 1 on was expected. Leave --steps out."
        )
    if resolve(request).probe is not None:
        raise ConfigError(
            f"{request.task} trains no weights, so that there is no learning rate to search for. A task that trains "
            f"was expected. Type `python -m benchmark list tasks`."
        )
    if processes().n > 1:
        raise ConfigError(
            f"A search runs in one process, not in {processes().n}. A plain command was expected. Leave torchrun or "
            f"srun out."
        )


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise BenchmarkError(
            "A search needs the package optuna, which is not installed. The extra `tune` was expected. Type "
            '`pip install "particlebench[tune]"`.'
        ) from error
    return optuna
