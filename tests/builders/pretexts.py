"""A small model, a pretext on it, and views of random events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from benchmark import registry
from benchmark.contracts.pretext import HIDDEN
from benchmark.contracts.pretext_training import PretextTraining
from benchmark.data.preprocess import Preprocess
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.seeding import generator
from benchmark.settings import override
from benchmark.tasks import TASKS
from builders.batches import inputs_of, make_batch

TASK = TASKS["lartpc-segmentation"]


def settings_of(pretext, **changes):
    """The tiny settings of a pretext, with changes."""
    config = resolve(Request("deep_sets", preset="tiny", pretext=pretext, dataset="pilarnet-m")).pretext_config
    return override(config, changes, "pretext")


def training_of(model, pretext, task=TASK, seed=0, **changes):
    """A tiny model with a pretext, as the loop trains them."""
    spec = registry.model_spec(model)
    config = resolve(Request(model, preset="tiny", pretext=pretext, dataset="pilarnet-m")).model_config
    inputs = inputs_of(task)
    torch.manual_seed(seed)
    made = spec.build(config, replace(inputs, columns=(*inputs.columns, HIDDEN)), task)
    return PretextTraining(made, registry.pretext_spec(pretext).build(settings_of(pretext, **changes), made, inputs))


def views_of(pretext, batch=None, progress=0.5, stream="views", **changes):
    """A batch of views (numpy) of random events."""
    batch = make_batch(TASK) if batch is None else batch
    rngs = [generator(stream, i) for i in range(batch.n_events)]
    spec = registry.pretext_spec(pretext)
    return spec.make_views(settings_of(pretext, **changes), batch, progress, rngs, rescale=Preprocess().rescaled)


def nearest(points, others, limit):
    """Brute force: (row, row of the nearest other) of the points that have one within the limit."""
    squared = np.square(points[:, None].astype(np.float64) - others[None]).sum(axis=2)
    near = np.flatnonzero(squared.min(axis=1) <= limit**2)
    return near, squared.argmin(axis=1)[near]
