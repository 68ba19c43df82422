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

from benchmark import registry, tasks
from benchmark.contracts import Dataset, ModelSpec
from benchmark.data.budget import Subset, subset
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.hardware.distributed import processes
from benchmark.hardware.environment import choose_device, choose_precision
from benchmark.io import sha256_text
from benchmark.records.record import describe_dataset, describe_task, now
from benchmark.records.tuning import SPLIT, Tuning, best_of, find_tuning, is_at_edge, write_tuning
from benchmark.runs.config import Request, RunConfig
from benchmark.runs.events import bootstrap_rng, check_disjoint, inputs_of
from benchmark.runs.execution import Execution, Say, describe_environment, set_up_torch, to_stderr
from benchmark.runs.prepared import check_model, model_code
from benchmark.runs.pretrained import Subject, pretrained
from benchmark.runs.resolve import resolve
from benchmark.runs.run import train_on_labels
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
class Found:
    """The result of a search, and whether this call made it."""

    tuning: Tuning
    fresh: bool


@dataclass(frozen=True)
class _Bench:
    """What all trials share."""

    config: RunConfig  # with the trials' number of steps
    spec: ModelSpec
    dataset: Dataset
    labelled: EventSet
    validation: EventSet
    subset: Subset
    environment: dict[str, Any]
    code: str
    folder: Path  # journal, logs and states
    resume: bool

    def model(self) -> TorchModel:
        """A new model with the weights that a run of this seed starts from, pre-training aside."""
        import torch

        from benchmark.contracts.torch_model import TorchModel

        torch.manual_seed(seed_from("weights", self.config.model, self.config.seed))
        model = self.spec.made(self.config.model_config, inputs_of(self.config, self.dataset), self.config.task)
        if not isinstance(model, TorchModel):
            raise ConfigError(
                f"{self.config.model} has no learning rate to search for. A model that is trained step by step was "
                f"expected. Run it as it is."
            )
        return model.to(self.environment["device"])


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


def tune(request: Request, execution: Execution, search: Search, say: Say = to_stderr) -> Found:
    """Try every rate of the grid, write the result and return it; one that is recorded already is not made again.

    Raises ConfigError for what has no learning rate, and what `run` raises for the same request.
    """
    _check(request, search)
    optuna = _optuna()
    config = _of_trial(resolve(request), search)
    spec, device = registry.model_spec(request.model), choose_device(execution.device)
    check_model(spec, config, device)
    threads = set_up_torch(execution.threads)
    dataset = registry.dataset_spec(config.dataset).open(config.data, execution.data)
    precision = choose_precision(config.train.precision, device)
    environment = {**describe_environment(device, precision, threads), "processes": 1}
    environment["versions"] = {**environment["versions"], "optuna": optuna.__version__}
    code = model_code(request.model)
    name = _fingerprint(config, dataset.revision, code, device, precision)
    folder = execution.runs / "tune" / f"{config.model}-{name[:16]}"
    train = event_set(dataset, "train", config.task, config.preprocess)
    validation = event_set(dataset, SPLIT, config.task, config.preprocess)
    check_disjoint(train, validation, SPLIT, dataset)
    chosen = subset(train.event_ids, config.labels, config.draw)
    resume = execution.resume and not execution.force
    bench = _Bench(
        config, spec, dataset, train.chosen(chosen), validation, chosen, environment, code, folder, resume
    )  # fmt: skip
    model = bench.model()
    blank = _blank(bench, search, execution, name)
    root = search.out or execution.runs / "tuning"
    recorded = None if execution.force else find_tuning(root, blank)
    if recorded is not None:
        return Found(recorded, fresh=False)
    say(_announce(bench, search, device, threads))
    if config.starts_pretrained:
        subject = Subject(config, spec, train, dataset, environment, code, request.model)
        pretrained(model, subject, resume, None, say)
    trials = _walk(optuna, bench, search, _Trial(bench, dict(model.state_dict()), say))
    best = best_of(trials, config.task.smaller_is_better)
    result = dataclasses.replace(
        blank, created=now(), trials=trials, best_rate=best, at_edge=is_at_edge(best, blank.rates),
        environment={**environment, "backends": dict(model.backends)},
    )  # fmt: skip
    write_tuning(root, result)
    return Found(result, fresh=True)


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
    typed = ["python", "-m", "benchmark", "run", "--model", request.model, "--labels", request.labels]
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

    def __init__(self, bench: _Bench, start: Mapping[str, Any], say: Say) -> None:
        self.bench, self.say = bench, say
        self.start = {name: value.clone() for name, value in start.items()}  # the weights that every trial starts from

    def __call__(self, rate: float) -> dict[str, Any]:
        """The trial's entry in the record. A loss or scores that are no numbers fail it; other errors are raised."""
        try:
            report, result = self._scored(rate)
        except BenchmarkError as error:
            if type(error) is not BenchmarkError:  # a setting, a file, the disk: not the rate's fault
                raise
            return {**_EMPTY, "rate": rate, "status": "failed", "error": str(error)}
        score = result.metrics["overall"][self.bench.config.task.primary_metric]
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
            "trained": _fell(report),
            "wall_s": round(report.wall_s + result.wall_s, 2),
        }

    def _scored(self, rate: float) -> tuple[FitReport, Evaluation]:
        """As `run` does it, with another rate and on another split."""
        bench = self.bench
        config = dataclasses.replace(bench.config, optim=dataclasses.replace(bench.config.optim, lr=rate))
        model = bench.model()
        model.load_state_dict(self.start)
        self.say(f"learning rate {rate:g}")
        report = train_on_labels(model, config, bench.labelled, bench.environment, self.folder(rate), bench.resume)
        rng = bootstrap_rng(config.task, bench.dataset)
        return report, evaluate(model, bench.validation, config.train.batch_size, rng, split=SPLIT)

    def folder(self, rate: float) -> Path:
        """Where the trial keeps its logs, and its states while it is unfinished."""
        return self.bench.folder / f"lr-{rate!r}"


_EMPTY: dict[str, Any] = {
    "score": None, "f1": {}, "steps": None, "first_loss": None, "last_loss": None, "grad_norm": None,
    "trained": False, "wall_s": None,
}  # fmt: skip


def _walk(optuna: Any, bench: _Bench, search: Search, attempt: _Trial) -> list[dict[str, Any]]:
    """Every rate of the grid once, in an order drawn by the seed; entries of the record, by rate.

    A trial whose loss is no number is one of optuna's failed trials; one that was interrupted is left running in the
    journal, so that the grid's sampler comes back to it.
    """
    from benchmark.training.fit import forget_states

    journal = bench.folder / JOURNAL
    if not bench.resume:
        journal.unlink(missing_ok=True)
    bench.folder.mkdir(parents=True, exist_ok=True)
    direction = "minimize" if bench.config.task.smaller_is_better else "maximize"
    study = _study(optuna, journal, search.rates, seed_from("grid", bench.config.seed) % _LARGEST_SEED, direction)
    done = _finished(study)

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("lr", search.rates[0], search.rates[-1])
        try:
            result = done.get(rate) or attempt(rate)
        except BaseException as error:
            raise _Interrupted(error) from error
        trial.set_user_attr("result", json.dumps(result))
        done[rate] = result
        forget_states(attempt.folder(rate))  # not earlier: a result that cannot be kept must cost no training
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


def _of_trial(config: RunConfig, search: Search) -> RunConfig:
    if search.steps is None:
        return config
    return dataclasses.replace(config, train=dataclasses.replace(config.train, steps=search.steps))


def _fingerprint(config: RunConfig, revision: str, code: str, device: str, precision: str) -> str:
    """Names the search whatever its grid: all that decides the result of a trial at a given rate."""
    settings = {k: v for k, v in config.as_dict().items() if k != "checkpoint"}
    settings["optim"] = {k: v for k, v in settings["optim"].items() if k != "lr"}
    parts = {"config": settings, "split": SPLIT, "data": revision, "code": code, "hardware": [device, precision]}
    return sha256_text(json.dumps(parts, sort_keys=True))


def _blank(bench: _Bench, search: Search, execution: Execution, name: str) -> Tuning:
    """The record of a search before its trials."""
    excluded = {"train": bench.labelled.excluded, SPLIT: bench.validation.excluded}
    return Tuning(
        fingerprint=name, created=now(), command=list(execution.command), config=bench.config.as_dict(),
        task=describe_task(bench.config.task), dataset=describe_dataset(bench.dataset),
        events={"labelled": len(bench.labelled), "selection": len(bench.validation), "excluded": excluded},
        subset_sha256=bench.subset.sha256, code_sha256=bench.code, rates=list(search.rates), trials=[], best_rate=None,
        at_edge=False, environment=bench.environment,
    )  # fmt: skip


def _fell(report: FitReport) -> bool:
    """Whether the loss at the end is below that of the first step."""
    return report.first_loss is not None and report.last_loss is not None and report.last_loss < report.first_loss


def _announce(bench: _Bench, search: Search, device: str, threads: int) -> str:
    c = bench.config
    where = f"{device}, {threads} threads" if device == "cpu" else device
    return (
        f"{c.model} [{c.preset}, {c.mode}] on {c.task.name}, {bench.dataset.info.name} ({bench.dataset.revision}): "
        f"{len(search.rates)} learning rates, {c.train.steps} steps each on {len(bench.labelled)} labelled events, "
        f"scored on {len(bench.validation)} validation events; {where}"
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
