"""A small search for the learning rate: the same grid for every model, scored on the validation split, recorded.

Each trial trains on the labelled events of the budget with the training loop of runs, and is scored by the primary
metric. The test split is not opened. Optuna samples the grid and keeps its journal in `runs/tune`: an interrupted
search resumes, and a wider grid repeats no finished rate.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchmarkError, ConfigError
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.hardware.distributed import processes
from benchmark.hardware.locks import locked_folder
from benchmark.io import sha256_text
from benchmark.packages import missing_error
from benchmark.paths import shell_text
from benchmark.progress import to_stderr
from benchmark.records.record import describe_dataset, describe_task, now
from benchmark.records.tuning import SPLIT, Tuning, best_of, find_tuning, is_at_edge, write_tuning
from benchmark.runs.commands import run_command, tune_command
from benchmark.runs.config import Request
from benchmark.runs.events import RunEvents, bootstrap_rng, open_events
from benchmark.runs.execution import Execution, Say
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
    """Options of the search."""

    rates: tuple[float, ...] = RATES  # ascending
    steps: int | None = None  # of each trial; None: those of the run
    out: Path | None = None  # folder of the result; None: `tuning` in the folder of runs


@dataclass(frozen=True)
class TuningOutcome:
    """The result of a search, and whether this call computed it."""

    tuning: Tuning
    fresh: bool


@dataclass(frozen=True)
class _TrialSetup:
    """Shared by all trials."""

    prepared: Prepared  # with the trials' number of steps
    events: RunEvents  # scored on the validation split
    fingerprint: str  # of the search, without its grid
    environment: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Folder of journal, logs and training states."""
        return self.prepared.execution.runs / "tune" / f"{self.prepared.config.method}-{self.fingerprint[:16]}"

    def model(self) -> TorchModel:
        """A new model with this seed's initial weights, before pre-training."""
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
            f"--rates {text!r} is not a grid. Two or more different learning rates above 0, with commas between them, "
            f"were expected. Type for example --rates {','.join(f'{r:g}' for r in RATES)}."
        )
    return tuple(rates)


def tune(request: Request, execution: Execution, search: Search, say: Say = to_stderr) -> TuningOutcome:
    """Try every rate of the grid, write and return the result; a recorded search is returned instead.

    Raises ConfigError for a model without a learning rate, and the errors of `run` for the same request.
    """
    _check_request(request, search)
    setup = _set_up(request, execution, search, _import_optuna().__version__)
    model = setup.model()
    unfinished = _unfinished_tuning(setup, search)
    root = search.out or execution.runs / "tuning"
    recorded = None if execution.force else find_tuning(root, unfinished)
    if recorded is not None:
        return TuningOutcome(recorded, fresh=False)
    with locked_folder(setup.folder, f"the search {setup.folder.name}", say, leftovers="**/.*.partial"):
        recorded = None if execution.force else find_tuning(root, unfinished)
        if recorded is not None:  # by the process that this one has waited for
            return TuningOutcome(recorded, fresh=False)
        result = _carry_out(setup, search, unfinished, model, say)
        write_tuning(root, result)
        return TuningOutcome(result, fresh=True)


def _carry_out(setup: _TrialSetup, search: Search, unfinished: Tuning, model: TorchModel, say: Say) -> Tuning:
    """Try the rates; returns the result."""
    say(_start_message(setup, search))
    config = setup.prepared.config
    if config.starts_pretrained:
        load_pretrained(model, setup.prepared, say)
    trials = _try_rates(_import_optuna(), setup, search, _Trial(setup, dict(model.state_dict()), say))
    best = best_of(trials, config.task.smaller_is_better)
    return dataclasses.replace(
        unfinished, created=now(), trials=trials, best_rate=best, at_edge=is_at_edge(best, unfinished.rates),
        environment={**setup.environment, "backends": dict(model.backends)},
    )  # fmt: skip


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
    """A sentence with the grid to try next, where the best rate is at the edge or missing."""
    if tuning.best_rate is None:
        lower = ",".join(f"{r / 30:.1g}" for r in tuning.rates)
        return f"No rate trained the model: try lower ones, --rates {lower}."
    if not tuning.at_edge:
        return None
    rates = tuning.rates
    is_smallest = tuning.best_rate == rates[0]
    next_rate = rates[0] ** 2 / rates[1] if is_smallest else rates[-1] ** 2 / rates[-2]
    wider = [next_rate, *rates] if is_smallest else [*rates, next_rate]
    end = "smallest" if is_smallest else "largest"
    return (
        f"The best rate, {tuning.best_rate:g}, is the {end} of the grid, so that a better "
        f"one may lie beyond it: try --rates {','.join(f'{r:.2g}' for r in wider)} (finished trials are not repeated)."
    )


def best_command(tuning: Tuning, request: Request, execution: Execution) -> str | None:
    """The `run` command with the best rate; None without one."""
    if tuning.best_rate is None:
        return None
    best = (*request.assignments, f"optim.lr={tuning.best_rate:g}")
    return shell_text(run_command(dataclasses.replace(request, assignments=best), execution))


def _command(prepared: Prepared, search: Search) -> tuple[str, ...]:
    rates = ",".join(f"{rate!r}" for rate in search.rates)
    options = {"rates": rates, "steps": search.steps, "tuning": search.out}
    return tune_command(prepared.identity.request, prepared.execution, options)


class _Interrupted(BaseException):
    """Carries an exception past optuna, which would otherwise count the trial as failed and not repeat it."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


class _Trial:
    """Trains and scores with one rate."""

    def __init__(self, setup: _TrialSetup, initial_weights: Mapping[str, Any], say: Say) -> None:
        self.setup, self.say = setup, say
        self.initial_weights = {name: value.clone() for name, value in initial_weights.items()}  # of every trial

    def __call__(self, rate: float) -> dict[str, Any]:
        """The trial's entry in the record. A loss or score that is not finite fails it; other errors are raised."""
        try:
            report, result = self._train_and_score(rate)
        except BenchmarkError as error:
            if type(error) is not BenchmarkError:  # of a setting, a file or the disk, not of the rate
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

    def _train_and_score(self, rate: float) -> tuple[FitReport, Evaluation]:
        """Train and score as `run` does, with this rate, on the validation split."""
        prepared, events = self.setup.prepared, self.setup.events
        config = dataclasses.replace(prepared.config, optim=dataclasses.replace(prepared.config.optim, lr=rate))
        model = self.setup.model()
        model.load_state_dict(self.initial_weights)
        self.say(f"learning rate {rate:g}")
        report = train_on_labels(model, prepared.with_config(config), events.labelled, self.folder(rate))
        rng = bootstrap_rng(config.task, prepared.dataset)
        return report, evaluate(model, events.scored, config.train.batch_size, rng, split=SPLIT)

    def folder(self, rate: float) -> Path:
        """Folder of the trial's logs and training states."""
        return self.setup.folder / f"lr-{rate!r}"


_EMPTY: dict[str, Any] = {
    "score": None, "f1": {}, "steps": None, "first_loss": None, "last_loss": None, "grad_norm": None,
    "trained": False, "wall_s": None,
}  # fmt: skip


def _try_rates(optuna: Any, setup: _TrialSetup, search: Search, run_trial: _Trial) -> list[dict[str, Any]]:
    """Try every rate of the grid once, in an order drawn by the seed; returns entries of the record, by rate.

    A trial without a finite loss is a failed trial of optuna; an interrupted one stays running in the journal, so that
    the grid sampler repeats it.
    """
    from benchmark.training.states import delete_checkpoints

    journal, config = setup.folder / JOURNAL, setup.prepared.config
    if not setup.prepared.resume:
        journal.unlink(missing_ok=True)
    _mend_journal(journal)
    direction = "minimize" if config.task.smaller_is_better else "maximize"
    study = _open_study(optuna, journal, search.rates, seed_from("grid", config.seed) % _LARGEST_SEED, direction)
    results = _finished_trials(study)

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("lr", search.rates[0], search.rates[-1])
        try:
            result = results.get(rate) or run_trial(rate)
        except BaseException as error:
            raise _Interrupted(error) from error
        trial.set_user_attr("result", json.dumps(result))
        results[rate] = result
        # after the result is stored, so that a failed write loses no training
        delete_checkpoints(run_trial.folder(rate))
        if result["status"] == "failed":
            raise _Diverged
        return float(result["score"]["value"])

    if set(search.rates) - set(results):
        try:
            study.optimize(objective, catch=(_Diverged,))
        except _Interrupted as stop:
            raise stop.cause from None
    return [results[rate] for rate in search.rates]


class _Diverged(Exception):
    """Tells optuna that a trial failed."""


def _open_study(optuna: Any, journal: Path, rates: Sequence[float], seed: int, direction: str) -> Any:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # the suite reports progress itself
    backend = optuna.storages.journal.JournalFileBackend(str(journal), lock_obj=_Held())
    storage = optuna.storages.JournalStorage(backend)
    sampler = optuna.samplers.GridSampler({"lr": list(rates)}, seed=seed)
    return optuna.create_study(
        storage=storage, sampler=sampler, study_name="lr", direction=direction, load_if_exists=True
    )


class _Held:
    """Optuna's lock of a journal, in a search that holds its folder. Its own waits for ever on a full disk."""

    def acquire(self) -> bool:
        """Nothing to do."""
        return True

    def release(self) -> None:
        """Nothing to do."""


def _mend_journal(journal: Path) -> None:
    """Remove the beginning of a line, which a killed process or a full disk left and which optuna cannot read."""
    content = journal.read_bytes() if journal.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(journal, len(whole))


def _finished_trials(study: Any) -> dict[float, dict[str, Any]]:
    """Rate -> entry of every finished trial, also of an earlier grid."""
    results: dict[float, dict[str, Any]] = {}
    for trial in study.get_trials(deepcopy=False):
        if "result" in trial.user_attrs and trial.state.is_finished():
            result = json.loads(trial.user_attrs["result"])
            results.setdefault(result["rate"], result)
    return results


def _fingerprint(identity: Identity, revision: str) -> str:
    """Hash of all that decides a trial's result, except its rate."""
    settings = {k: v for k, v in identity.config.as_dict().items() if k != "checkpoint"}
    settings["optim"] = {k: v for k, v in settings["optim"].items() if k != "lr"}
    hardware = [identity.device, identity.precision]
    parts = {"config": settings, "split": SPLIT, "data": revision, "code": identity.code, "hardware": hardware}
    return sha256_text(json.dumps(parts, sort_keys=True))


def _unfinished_tuning(setup: _TrialSetup, search: Search) -> Tuning:
    """The record of a search before its trials."""
    prepared, events = setup.prepared, setup.events
    return Tuning(
        fingerprint=setup.fingerprint, created=now(), command=list(_command(prepared, search)),
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


def _start_message(setup: _TrialSetup, search: Search) -> str:
    c, events = setup.prepared.config, setup.events
    return (
        f"{c.model} [{c.preset}, {c.mode}] on {c.task.name}, {setup.prepared.source}: {len(search.rates)} learning "
        f"rates, {c.train.steps} steps each on {len(events.labelled)} labelled events, scored on {len(events.scored)} "
        f"validation events; {setup.prepared.machine.place}"
    )


def _check_request(request: Request, search: Search) -> None:
    rate_settings = {"optim.lr", "lr"} & set(parse_assignments(list(request.assignments)))
    if rate_settings:
        raise ConfigError(
            f"--set {rate_settings.pop()} fixes the learning rate, which the search chooses. Other settings were "
            f"expected. Give the learning rates with --rates."
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


def _import_optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise missing_error("optuna", "A search") from error
    return optuna
