"""Score a recorded run on other events than its own test split: does a model trained on one dataset work on another?"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from benchmark import registry, tasks
from benchmark.contracts import Inputs
from benchmark.data.preprocess import Preprocess
from benchmark.data.stream import event_set
from benchmark.displays import MAX_EVENTS, draw_predictions
from benchmark.environment import describe
from benchmark.errors import CheckpointError, ConfigError
from benchmark.evaluate import evaluate
from benchmark.io import sha256_text
from benchmark.records import RunRecord, pack_counts, records_dir, write_record
from benchmark.run import WEIGHTS, Execution, bootstrap_rng, describe_dataset, now, run_folder, set_up_torch
from benchmark.settings import override


def transfer(
    record: RunRecord, dataset: str, split: str, execution: Execution, weights: Path | None = None,
    figure: Path | None = None,
) -> RunRecord:  # fmt: skip
    """Predict a split of another dataset with the weights of a recorded run; write and return a record of its own.

    Task, preprocessing and model are those of the run. `weights` defaults to where the run left them. `figure`: PNG of
    the first events with truth, prediction and errors. Raises CheckpointError where the weights are missing or
    of another model.
    """
    if record.status == "failed":
        raise ConfigError("The record is of a failed run. A finished run was expected. Run it again first.")
    started = time.monotonic()
    threads = set_up_torch(execution.threads)
    data_spec = registry.dataset_spec(dataset)
    there = data_spec.open(data_spec.config(), execution.data)
    config = record.config
    task = tasks.task(record.task["name"])
    preprocess = override(Preprocess(), config["preprocess"], "preprocess")
    events = event_set(there, split, task, preprocess)
    spec = registry.model_spec(config["model"])
    model_config = override(spec.config(), config["model_config"], "model")
    model = spec.build(model_config, Inputs(tuple(preprocess.columns), there.info.frame), task)
    model.load(weights or _weights(execution.runs, record))
    result = evaluate(model, events, config["train"]["batch_size"], bootstrap_rng(task, there))
    if figure is not None:
        first = events.batch(range(min(MAX_EVENTS, len(events))))
        draw_predictions(first, model.predict(first.without_target()), task, figure)
    scored = replace(
        record,
        fingerprint=sha256_text(f"{record.fingerprint}\x1f{there.info.name}\x1f{there.revision}\x1f{split}"),
        created=now(),
        command=list(execution.command),
        dataset=describe_dataset(there),
        events={**record.events, "test": len(events), "excluded": {split: events.excluded}},
        metrics=result.metrics,
        per_event=pack_counts(result.counts, events.event_ids),
        training={
            **record.training,
            "run": record.fingerprint,
            "trained_on": record.dataset,
            "trained_in": record.environment,
        },
        resources={**record.resources, "wall_s": round(time.monotonic() - started, 2)},
        environment=describe("cpu", "32", threads),
    )
    write_record(execution.records or records_dir(), scored)
    return scored


def _weights(runs: Path, record: RunRecord) -> Path:
    path = run_folder(runs, record) / WEIGHTS
    if not path.is_file():
        raise CheckpointError(
            f"The run's weights are not at {path}. The folder `runs` of the run itself was expected. Give them with "
            f"--weights, or repeat the run with --force."
        )
    return path
