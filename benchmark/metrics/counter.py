"""Counts predictions event by event, and reports the scores in a record's format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.contracts import PointBatch, Task
from benchmark.metrics import calibration
from benchmark.metrics.families import family, report


class Counter:
    """States of events under a task's family of scores, and of its calibration, if any.

    units: (n_events,) number, from 0 on, of the independent event of each.
    """

    def __init__(self, task: Task, units: np.ndarray) -> None:
        self.task, self.units, n_events = task, units, len(units)
        self.family = family(task.metrics)
        # (n_events, ...) states; of classes (C, C) [true, predicted]
        self.counts = np.zeros((n_events, *self.family.shape(task)), dtype=self.family.dtype)
        self._has_calibration = calibration.can_be_judged(task)
        self._calibration_states = np.zeros((n_events, calibration.N_BINS, len(calibration.SUMS)))

    def add(self, rows: Sequence[int] | np.ndarray, scores: np.ndarray, batch: PointBatch) -> None:
        """Count a labelled batch, whose events are the given rows. scores: as the model returned them."""
        self.counts[rows] = self.family.count(scores, batch, self.task)
        if self._has_calibration:
            self._calibration_states[rows] = calibration.state(scores, batch, self.task)

    def report(self, rng: np.random.Generator) -> dict[str, Any]:
        """A record's metrics: scores with 95% intervals over events, resampled by `rng`, and the calibration."""
        metrics = report(self.family, self.counts, self.task, rng, self.units)
        if self._has_calibration:
            metrics["calibration"] = calibration.report(self._calibration_states, rng, self.units)
        return metrics
