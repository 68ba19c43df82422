"""What the tests of whole runs share: a folder of tiny events and a runner that keeps everything below one folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.contracts import Inputs
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import DataError
from benchmark.registry import dataset_spec
from benchmark.runs.config import Request, RunConfig
from benchmark.runs.execution import Execution, Outcome
from benchmark.runs.resolve import resolve
from benchmark.runs.run import run
from benchmark.training import fit as training
from builders.pilarnet_files import make_events, write_folder

N_TRAIN, N_TEST = 21, 7  # odd: `write_folder` names files by their number of events
TINY = ("train.steps=4", "preprocess.min_points=0")
PRETRAINED = (*TINY, "pretrain.steps=3", "pretrain.events=8")

SPY = '''
"""Writes down what it is given, and answers as told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.contracts import Model, ModelSpec, Preset


@dataclass(frozen=True)
class Config:
    """How it answers."""

    answer: str = "track"  # track | flat | narrow | nan | error


class Spy(Model):
    def __init__(self, config, task):
        self.config, self.task, self.seen = config, task, []

    def fit(self, batches, task):
        for batch in batches:
            assert batch.target is not None
            self.seen += [f"fit {i}" for i in batch.event_ids]
            self.seen += [f"label {v}" for v in np.unique(batch.target)]

    def predict(self, batch):
        assert batch.target is None, "a model was shown the labels of the test split"
        assert batch.instance is None, "a model was shown the instances of the test split"
        self.seen += [f"predict {i} {n}" for i, n in zip(batch.event_ids, batch.lengths)]
        Path("spy.txt").write_text("\\n".join(self.seen))
        answer = self.config.answer
        if answer == "error":
            raise ZeroDivisionError("a fault of the model's own")
        scores = np.zeros((batch.n_points, self.task.n_outputs), np.float32)
        scores[:, 1] = np.nan if answer == "nan" else 1.0
        return {"flat": scores[:, 0], "narrow": scores[:, :-1]}.get(answer, scores)

    def save(self, path, metadata):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def load(self, path):
        return {}


PRESETS = {"default": Preset(), "tiny": Preset()}
SPEC = ModelSpec(name="spy", summary="", config=Config, build=lambda c, i, t: Spy(c, t), presets=PRESETS)
'''


def make_data(root: Path) -> Path:
    """Train, val and test events of about 200 voxels in the v2 schema."""
    rng = np.random.default_rng(11)
    splits = {"train": N_TRAIN, "val": 2, "test": N_TEST}
    return write_folder(root / "pilarnet", {split: make_events(rng, n) for split, n in splits.items()})


def request(model: str = "pointnet", *assignments: str, **values: object) -> Request:
    """What a user would type for a run of seconds."""
    plain = Request(model, dataset="pilarnet-m", preset="tiny", labels="6", assignments=(*TINY, *assignments))
    if model == "polarmae":
        plain = replace(plain, assignments=(*PRETRAINED, *assignments))
    return replace(plain, **values)


def execute(data: Path, root: Path, asked: Request, **values: object) -> Outcome:
    """Run it on one CPU thread; records and weights go below `root`."""
    plain = Execution(device="cpu", threads=1, data=data, records=root / "records", runs=root / "runs")
    return run(asked, replace(plain, **values), say=lambda text: None)


def training_events(root: Path, asked: Request) -> tuple[RunConfig, EventSet, Inputs]:
    """Configuration, training events and inputs for `fit` alone, of tiny events below `root`."""
    spec, config = dataset_spec("pilarnet-m"), resolve(asked)
    dataset = spec.open(spec.config(), make_data(root))
    events = event_set(dataset, "train", config.task, config.preprocess)
    return config, events, Inputs(("log_energy",), dataset.info.frame)


def break_batch(monkeypatch: Any, number: int) -> None:
    """The batch of this step cannot be prepared."""
    usual = training.training_batch

    def broken(events: EventSet, step: int, *rest: Any, **more: Any) -> Any:
        if step == number:
            raise DataError("Event 7 is broken.")
        return usual(events, step, *rest, **more)

    monkeypatch.setattr(training, "training_batch", broken)
