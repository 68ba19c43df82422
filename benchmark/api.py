"""The suite from Python: events, runs, predictions, scores and tables, as a notebook needs them.

    from benchmark import api

Options are those of the command line, under the same names; `settings` is what `--set` is there, and error messages
name the option of the command line. What is the input's fault raises a `benchmark.errors.BenchmarkError`. Nothing heavy
is imported before a function needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from benchmark.contracts import Dataset, Event, Model, PointBatch, Task
from benchmark.errors import ConfigError, DataError
from benchmark.records.record import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from benchmark.data.stream import EventSet
    from benchmark.reports.fitted_table import FittedTable
    from benchmark.runs.config import Request
    from benchmark.runs.execution import Execution, Say
    from benchmark.runs.pretrain import Pretraining

__all__ = [
    "Events", "batch", "build", "curve", "events", "leaderboard", "predict", "pretrain", "run", "score", "table",
]  # fmt: skip

Settings = Mapping[str, Any] | Sequence[str]  # {"train.steps": 100} or ["train.steps=100"]
TASK = "lartpc-segmentation"
_BATCH = 8  # events that a model without a record predicts at once


@dataclass(frozen=True, eq=False)
class Events:
    """The usable events of a split, sorted by id; each is read from disk when it is asked for.

    `len(events)`; `events[3]` is an `Event` as the dataset gives it; `events[:10]` and `events[[0, 5]]` are `Events`
    again; `for event in events` reads one after another.
    """

    dataset: Dataset
    prepared: EventSet  # the events with the task's preprocessing, which `batch` applies

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the events, sorted."""
        return self.prepared.event_ids[:]

    @property
    def task(self) -> Task:
        """Whose labels the events carry."""
        return self.prepared.task

    @property
    def excluded(self) -> dict[str, int]:
        """How many events of the split are not usable, for each reason."""
        return dict(self.prepared.excluded)

    def position(self, event_id: str) -> int:
        """Where the event of this id stands. Raises ConfigError."""
        if event_id not in self.prepared.event_ids:
            raise ConfigError(f"There is no event {event_id!r}. One of `events.ids` was expected. Correct the id.")
        return self.prepared.event_ids.index(event_id)

    def __len__(self) -> int:
        return len(self.prepared)

    def __iter__(self) -> Iterator[Event]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, where: int) -> Event: ...
    @overload
    def __getitem__(self, where: slice | Sequence[int] | np.ndarray) -> Events: ...
    def __getitem__(self, where: int | slice | Sequence[int] | np.ndarray) -> Event | Events:
        chosen = self.prepared.indices[where]
        if np.ndim(chosen) == 0:
            return self.prepared.source[int(chosen)]
        return replace(self, prepared=replace(self.prepared, indices=np.unique(chosen)))


def events(
    dataset: str = "lartpc-sim", split: str = "test", *, task: str | None = None, data: str | Path | None = None,
    settings: Settings = (),
) -> Events:  # fmt: skip
    """The usable events of a split, sorted by id. Simulated datasets are made on first use and kept in the cache.

    task: whose labels and cuts; by default the dataset's first. data: folder of the dataset, else the cache. settings:
    `data.KEY` of the dataset and `preprocess.KEY` of the cuts. Raises UnknownNameError, ConfigError, DataError.

        >>> from benchmark import api
        >>> events = api.events(settings={"data.train": 8, "data.val": 2, "data.test": 4})
        >>> len(events), events.ids[0]
        (4, 'test/generic_v2_4_v2:0000000')
        >>> event = events[0]
        >>> event.coords.shape, event.energy.shape  # voxels of 3 mm, MeV
        ((2429, 3), (2429,))
        >>> sorted(event.labels)
        ['cluster', 'fragment', 'group', 'interaction', 'pid', 'semantic']
    """
    from benchmark.runs.chosen_events import chosen_events
    from benchmark.settings import as_assignments

    return Events(*chosen_events(dataset, split, task, _path(data), as_assignments(settings)))


def batch(events: Events, positions: int | slice | Sequence[int] | np.ndarray | None = None) -> PointBatch:
    """Events as one batch of numpy arrays, prepared as a model of their task takes them; without positions all of them.

    coords (N, 3) in the unit of `batch.frame`, energy (N,) in the dataset's unit, feats (N, C), offsets (B+1,) where
    each event's rows begin, target (N,), (N, C) or (B,). `.to_torch()` makes tensors of it. Raises ConfigError for a
    position that is not there.

        >>> from benchmark import api
        >>> events = api.events(settings={"data.train": 8, "data.val": 2, "data.test": 4})
        >>> batch = api.batch(events, slice(0, 2))
        >>> batch.n_events, batch.columns, batch.offsets.tolist()
        (2, ('log_energy',), [0, 1727, 8220])
        >>> batch.coords.shape, batch.feats.shape, batch.target.shape
        ((8220, 3), (8220, 1), (8220,))
    """
    everything = np.arange(len(events))
    try:
        chosen = everything if positions is None else np.atleast_1d(everything[positions])
    except IndexError as error:
        raise ConfigError(
            f"The positions {positions!r} are not among the {len(events)} events. Numbers from 0 to {len(events) - 1} "
            f"were expected. Correct them."
        ) from error
    if len(chosen) == 0:
        raise ConfigError("The batch has no events. At least one position was expected. Correct the positions.")
    return events.prepared.batch(chosen)


def build(
    model: str | Path, preset: str = "default", *, task: str = TASK, dataset: str | None = None,
    mode: str | None = None, pretext: str | Path | None = None, seed: int = 0, settings: Settings = (),
) -> Model:  # fmt: skip
    """A model with the random weights that a run of this seed starts from, on the CPU and ready for `predict`.

    model: a name, or the path of a Python file that binds SPEC. A torch model is an `nn.Module`. The frame is that of
    the dataset with its own settings. Raises UnknownNameError, ConfigError.

        >>> from benchmark import api
        >>> model = api.build("pointnet", "tiny")
        >>> model.n_parameters
        8261
    """
    from benchmark import registry
    from benchmark.data.preparation import model_inputs

    _calm()
    import torch

    from benchmark.runs.prepared import first_model, identify

    asked = _request(model, 100, task, dataset, preset, mode, 0, seed, None, False, settings, pretext)
    identity = identify(asked, "cpu")
    frame = registry.dataset_spec(identity.config.dataset).info.frame
    with torch.random.fork_rng(devices=[]):
        return first_model(identity, model_inputs(identity.config.preprocess, frame, identity.config.pretext))


def run(
    model: str | Path, labels: int | str = 100, *, task: str = TASK, dataset: str | None = None,
    preset: str = "default", mode: str | None = None, pretext: str | Path | None = None, draw: int = 0, seed: int = 0,
    pretrain: bool = False, checkpoint: str | Path | None = None, settings: Settings = (), split: str = "test",
    device: str = "auto", threads: int | None = None, data: str | Path | None = None,
    records: str | Path | None = None, runs: str | Path = "runs", max_minutes: float | None = None,
    resume: bool = True, force: bool = False, compiled: bool = False, quiet: bool = False,
) -> RunRecord:  # fmt: skip
    """Train on a label budget, score a whole split, write the record and return it.

    A recorded run is not repeated. labels: labelled events, or "all". model, pretext: a name, or the path of a Python
    file that binds SPEC. split: that is scored, "test", or "val" to choose settings. records: folder of records, else
    runs/records. runs: folder of logs and weights. A run that `max_minutes` ended has the status "stopped", and the
    same call continues it. quiet: no progress on standard error. Raises BenchmarkError.

        >>> from benchmark import api
        >>> small = {"data.train": 8, "data.val": 2, "data.test": 4}
        >>> record = api.run("pointnet", labels=4, preset="tiny", settings={**small, "train.steps": 2}, threads=1)
        >>> record.status, record.events["labelled"], record.events["test"]
        ('finished', 4, 4)
        >>> sorted(record.metrics["overall"]["macro_f1"])
        ['high', 'low', 'value']
    """
    asked = _request(
        model, labels, task, dataset, preset, mode, draw, seed, None if checkpoint is None else str(checkpoint),
        pretrain, settings, pretext, split,
    )  # fmt: skip
    how = _execution(device, threads, data, records, runs, max_minutes, resume, force, compiled)
    from benchmark.runs.run import run as carry_out

    with _progress(quiet) as say:
        return carry_out(asked, how, say).record


def pretrain(
    model: str | Path, *, task: str = TASK, dataset: str | None = None, preset: str = "default",
    pretext: str | Path | None = None, seed: int = 0, settings: Settings = (), probe_every: int = 0,
    out: str | Path | None = None, device: str = "auto", threads: int | None = None, data: str | Path | None = None,
    max_minutes: float | None = None, resume: bool = True, force: bool = False, compiled: bool = False,
    quiet: bool = False,
) -> Pretraining:  # fmt: skip
    """Pre-train on unlabelled events, unless that is done; every `run` with these settings starts from the weights.

    The result has `weights` (path), `folder`, `record` (a dictionary: steps, losses, settings) and `fresh`. out: a copy
    of the weights, .safetensors. probe_every: steps between scores of a linear probe of the tokens. quiet: no progress
    on standard error. Raises BenchmarkError.

        >>> from benchmark import api
        >>> small = {"data.train": 8, "data.val": 2, "data.test": 4, "pretrain.steps": 2, "pretrain.events": 4}
        >>> made = api.pretrain("polarmae", preset="tiny", settings=small, threads=1)
        >>> made.record["steps"], made.weights.name
        (2, 'weights.safetensors')
    """
    asked = _request(model, 100, task, dataset, preset, None, 0, seed, None, False, settings, pretext)
    how = _execution(device, threads, data, None, "runs", max_minutes, resume, force, compiled)
    from benchmark.runs.pretrain import pretrain as carry_out

    with _progress(quiet) as say:
        return carry_out(asked, how, _path(out), probe_every, say)


def predict(
    source: RunRecord | Model | str | Path, events: Events, *, model: str | Path | None = None,
    weights: str | Path | None = None, runs: str | Path = "runs", batch_size: int | None = None, device: str = "auto",
    threads: int | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Event id -> float32 scores, larger is likelier, in the order of `events.ids`.

    (N, C) for the N points of the event, in the order of `batch`; (C,) of whole events; (C, Z, Y, X) of volumes; C is 1
    for a regression. source: a record or its file (.json), a checkpoint (.safetensors, .ckpt, hub:owner/name), or a
    model. model: the Python file of a model that is not the suite's own; of a .ckpt, the model's name. weights: of a
    record, where they are not in its folder below `runs`. Raises ConfigError, CheckpointError, DataError.

        >>> from benchmark import api
        >>> events = api.events(settings={"data.train": 8, "data.val": 2, "data.test": 4})
        >>> scores = api.predict(api.build("pointnet", "tiny"), events)
        >>> list(scores) == list(events.ids)
        True
        >>> scores[events.ids[0]].shape  # points, classes
        (1727, 4)
    """
    _calm()
    from benchmark.contracts.torch_model import TorchModel
    from benchmark.evaluation.predictions import predictions_of
    from benchmark.hardware.machine import choose_hardware, set_up_torch

    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size={batch_size} is not possible. A number from 1 on was expected. Leave it out.")
    chosen, _ = choose_hardware(device, "32")
    set_up_torch(threads)
    ready, prepared, size = (
        (source, events.prepared, _BATCH)
        if isinstance(source, Model)
        else _restored(source, events, None if model is None else str(model), _path(weights), Path(runs))
    )
    network = ready.to(chosen) if isinstance(ready, TorchModel) else ready
    return predictions_of(network, prepared, batch_size or size)


def score(
    task: str, predictions: Mapping[str, np.ndarray] | Sequence[np.ndarray], truth: Events | Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Scores with 95% intervals, by the code that scores runs, of predictions made anywhere.

    predictions: event id -> array as `predict` gives it, or the arrays in the order of the ids. Scores of classes are
    logarithms of probabilities, up to a constant; where the largest alone counts, this matters to the calibration only.
    truth: `Events`, or, of tasks that score classes of points alone, event id -> (N,) classes from 0 on, negative where
    there is none.

    Returns what a record holds under `metrics`: `["overall"]["macro_f1"]["value"]`, with "low" and "high" beside it,
    and the same by class in `["per_class"]`. Intervals are bootstraps over events, as in records: equal for equal
    predictions of the same events, and None for too few (`benchmark.metrics.few_events`). Raises DataError for arrays
    that do not fit, ConfigError for another task's truth.

        >>> import numpy as np
        >>> from benchmark import api
        >>> truth = {"a": np.array([0, 0, 1]), "b": np.array([1, 2, 3])}
        >>> right = {name: np.eye(4)[labels] for name, labels in truth.items()}
        >>> metrics = api.score("lartpc-segmentation", right, truth)
        >>> metrics["overall"]["macro_f1"]
        {'value': 1.0, 'low': None, 'high': None}
    """
    from benchmark import tasks
    from benchmark.evaluation.predictions import score_predictions

    asked = tasks.task(task)
    if asked.level == "token":
        raise ConfigError(f"{asked.name} is scored by a probe. A task of predictions was expected. Type its name.")
    ids = truth.ids if isinstance(truth, Events) else tuple(sorted(truth))
    if len(predictions) != len(ids) and not isinstance(predictions, Mapping):
        raise DataError(
            f"There are {len(predictions)} predictions. {len(ids)} were expected, one for each event of the truth. "
            f"Pass a dictionary by id."
        )
    by_id = predictions if isinstance(predictions, Mapping) else dict(zip(ids, predictions, strict=True))
    labelled, rng = _labelled(truth, ids, asked)
    units = truth.prepared.units if isinstance(truth, Events) else np.arange(len(ids))
    return score_predictions(by_id, ids, labelled, asked, units).report(rng)


def table(record: RunRecord, beside: RunRecord | None = None) -> FittedTable:
    """The table that the command `run` prints: scores by class with their 95% intervals.

    beside: a baseline's record. A notebook shows it as a cell's last value, `rich.print` in a terminal.

        >>> from benchmark import api
        >>> small = {"data.train": 8, "data.val": 2, "data.test": 4}
        >>> table = api.table(api.run("majority", labels=4, settings=small, threads=1))
        >>> [column.title for column in table.columns]
        ['class', 'precision', 'recall', 'F1']
    """
    from benchmark.reports.tables import run_table

    return run_table(record, beside)


def leaderboard(records: str | Path | Sequence[RunRecord], *, each_run: bool = False) -> pd.DataFrame:
    """A row per model and budget, best first, of every task and dataset: what the command `leaderboard` shows.

    records: a folder, or records. A row averages draws and seeds (`runs`, `spread`); with each_run it is one run.
    Scores have their 95% interval beside them as `<score>_low` and `<score>_high`; `difference_to_best` is the paired
    difference to the first row of the budget. Raises DataError where there is no run.

        >>> from benchmark import api
        >>> small = {"data.train": 8, "data.val": 2, "data.test": 4}
        >>> made = [api.run("majority", labels=n, settings=small, threads=1) for n in (2, 4)]
        >>> frame = api.leaderboard(made)
        >>> frame[["model", "labels", "runs"]].values.tolist()
        [['majority', 2, 1], ['majority', 4, 1]]
        >>> [name for name in frame.columns if name.startswith("macro_f1")]
        ['macro_f1']
    """
    from benchmark.reports.frames import rows
    from benchmark.reports.leaderboard import leaderboards

    found = [r for r in _read(records) if r.status != "failed"]
    if not found:
        raise DataError("There is no run to show. Records of finished runs were expected. Call `run` first.")
    return rows(leaderboards(found, each_run))


def curve(
    records: str | Path | Sequence[RunRecord], *, task: str = TASK, dataset: str | None = None,
    models: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """Score against labelled events, with 95% bands, overall and by class; published scores have a panel of their own.

    records: a folder, or records. models: names of models or curves ("gnn", "polarmae:fft"), else all. The figure is
    no window of pyplot's: a notebook shows it as a cell's last value, `figure.savefig` writes it. Raises DataError,
    UnknownNameError.

        >>> from benchmark import api
        >>> small = {"data.train": 8, "data.val": 2, "data.test": 4}
        >>> made = [api.run("majority", labels=n, settings=small, threads=1) for n in (2, 4)]
        >>> figure = api.curve(made)
        >>> [axis.get_ylabel() for axis in figure.axes if axis.axison]
        ['macro_f1', 'macro_f1', 'F1', 'F1', 'F1', 'F1']
    """
    from benchmark import tasks
    from benchmark.plots.efficiency_curves import curve_figure
    from benchmark.records.published import comparable
    from benchmark.reports.efficiency import board_of, chosen_curves, curves

    asked = tasks.task(task)
    board = board_of(_read(records), asked.name, dataset)
    names = [models] if isinstance(models, str) else list(models)
    chosen_curves(curves(board), names)
    return curve_figure(board, comparable(asked.name, board.averages[0].record.task["primary_metric"]), names)


def _request(
    model: str | Path, labels: int | str, task: str, dataset: str | None, preset: str, mode: str | None, draw: int,
    seed: int, checkpoint: str | None, pretrain: bool, settings: Settings, pretext: str | Path | None = None,
    split: str = "test",
) -> Request:  # fmt: skip
    from benchmark.runs.config import Request
    from benchmark.settings import as_assignments

    return Request(
        str(model), task, dataset, preset, labels, mode, draw, seed, checkpoint, as_assignments(settings), pretrain,
        None if pretext is None else str(pretext), split,
    )  # fmt: skip


def _execution(
    device: str, threads: int | None, data: str | Path | None, records: str | Path | None,
    runs: str | Path, max_minutes: float | None, resume: bool, force: bool, compiled: bool,
) -> Execution:  # fmt: skip
    _calm()
    from benchmark.runs.execution import Execution

    return Execution(device, threads, _path(data), _path(records), Path(runs), max_minutes, resume, force, compiled)


@contextmanager
def _progress(quiet: bool) -> Iterator[Say]:
    """What the user is told of a run: everything, or nothing."""
    from benchmark.progress import no_progress, to_stderr
    from benchmark.runs.execution import say_nothing

    with no_progress() if quiet else nullcontext():
        yield say_nothing if quiet else to_stderr


def _restored(
    source: RunRecord | str | Path, events: Events, model: str | None, weights: Path | None, runs: Path
) -> tuple[Model, EventSet, int]:
    """Model, the events as it takes them, and how many at once, of a record or a checkpoint."""
    from benchmark.checkpoints.load import named_checkpoint
    from benchmark.records.store import read_record
    from benchmark.runs.restore import open_for, restore_for

    if not isinstance(source, RunRecord) and Path(source).suffix != ".json":
        checkpoint = named_checkpoint(str(source), model)
        found = open_for(checkpoint, events.prepared)
        return found.model, found.events, checkpoint.manifest.batch_size
    record = source if isinstance(source, RunRecord) else read_record(Path(source))
    found = restore_for(record, events.prepared, runs, weights, model)
    return found.model, found.events, record.config["train"]["batch_size"]


def _labelled(
    truth: Events | Mapping[str, np.ndarray], ids: Sequence[str], task: Task
) -> tuple[Iterator[PointBatch], np.random.Generator]:
    """The true labels, one event to a batch, and the resampling behind the intervals."""
    from benchmark.evaluation.predictions import batch_of_classes
    from benchmark.runs.events import bootstrap_rng
    from benchmark.seeding import generator

    if not ids:
        raise DataError("The truth has no events. At least one was expected. Correct it.")
    if isinstance(truth, Events):
        if truth.task.name != task.name:
            raise ConfigError(
                f"The truth has the labels of {truth.task.name}. Those of {task.name} were expected. Open the events "
                f"with task={task.name!r}."
            )
        return (truth.prepared.batch([i]) for i in range(len(ids))), bootstrap_rng(task, truth.dataset)
    if (task.metrics, task.level) != ("segmentation", "point"):
        raise ConfigError(
            f"{task.name} is scored from more than classes of points. `Events` were expected as truth. Open them with "
            f"task={task.name!r}."
        )
    return (batch_of_classes(i, truth[i], task) for i in ids), generator("bootstrap", task.name)


def _read(records: str | Path | Sequence[RunRecord]) -> Sequence[RunRecord]:
    from benchmark.records.store import found_records

    return found_records(Path(records))[0] if isinstance(records, str | Path) else records


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _calm() -> None:
    """Before torch is imported for the first time."""
    from benchmark.hardware.environment import limit_thread_spinning

    limit_thread_spinning()
