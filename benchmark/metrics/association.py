"""Cells to tracks: does the focus track's particle hold most of a cell's energy? Scores on cells alone.

A cell belongs to a class where more than half of its true energy is of it (fraction > 0.5), and is predicted to
where the probability exceeds 0.5; a cell can belong to none. Points of tracks do not count. Every score is given twice:
weighted with the cell's energy, as the reconstruction of energies needs, and unweighted. Noise makes energies negative;
such cells have weight 0. In jets few cells are the focus track's, so the accuracy of the best constant prediction is
given beside each accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError, unknown_name
from benchmark.metrics.few_events import MACRO, MadeOf
from benchmark.metrics.pions import Scores, blockwise
from benchmark.metrics.summary import macro, plain, ratio

CLASSES = ("focus", "other", "neutral")
COLUMNS = ("tp", "fp", "fn", "tn")
WEIGHTINGS = ("", "_unweighted")  # endings of names, along the state's axis 2
SECTIONS = ("overall", "per_class")
CUT = 0.5


def state(
    probabilities: np.ndarray, fractions: np.ndarray, energy_gev: np.ndarray, is_cell: np.ndarray, offsets: np.ndarray
) -> np.ndarray:
    """(B, C, 2, 4) float32 per event and class: COLUMNS weighted with the energy in GeV [0], and unweighted [1].

    probabilities: (N, C) of the first C of CLASSES, not logits. fractions: (N, C) of a cell's true energy.
    energy_gev: (N,) GeV. is_cell: (N,) bool; other rows are ignored. offsets: (B+1,) event b owns rows
    offsets[b]:offsets[b+1], and may own no cell. Raises BenchmarkError for shapes that differ, and for cells with
    probabilities or fractions outside 0 to 1 or energies that are not finite.
    """
    probabilities, fractions = np.asarray(probabilities), np.asarray(fractions)
    energy_gev, is_cell, offsets = np.asarray(energy_gev), np.asarray(is_cell, dtype=bool), np.asarray(offsets)
    _check_shapes(probabilities, fractions, energy_gev, is_cell, offsets)
    probabilities, fractions, energy_gev = probabilities[is_cell], fractions[is_cell], energy_gev[is_cell]
    _check_values(probabilities, fractions, energy_gev)
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[is_cell]
    truth, predicted = fractions > CUT, probabilities > CUT  # (cells, C)
    outcome = np.where(truth, np.where(predicted, 0, 2), np.where(predicted, 1, 3))  # index in COLUMNS
    n_events, n_classes = len(offsets) - 1, probabilities.shape[1]
    index = ((event[:, None] * n_classes + np.arange(n_classes)) * len(COLUMNS) + outcome).ravel()
    energy = np.repeat(np.maximum(energy_gev, 0).astype(np.float64), n_classes)
    sums = [
        np.bincount(index, weights, minlength=n_events * n_classes * len(COLUMNS)).reshape(n_events, n_classes, -1)
        for weights in (energy, np.ones(len(index)))
    ]
    return np.stack(sums, axis=2).astype(np.float32)


def rows(section: str, n_classes: int = len(CLASSES)) -> tuple[str, ...]:
    """Labels of a section's rows, for the state's number of classes; none for `overall`. Raises UnknownNameError."""
    labels: Mapping[str, tuple[str, ...]] = {"overall": (), "per_class": CLASSES[:n_classes]}
    if section not in labels:
        raise unknown_name("section", section, labels, "Choose one of them.")
    return labels[section]


def scores(state: np.ndarray, times: np.ndarray) -> Scores:
    """Every score of (B, C, 2, 4) events that are each drawn times[r] times: section -> name -> (R,) or (R, C).

    times: (R, B) integers; a row of ones gives the plain scores. `overall` is of the focus class, except macro_f1;
    precision is the purity, recall the efficiency; names are energy-weighted unless they end in `_unweighted`. A class
    that is neither true nor predicted anywhere has no precision, recall or F1 (NaN) and is left out of macro_f1.
    Raises BenchmarkError for multiplicities of another shape.
    """
    values = np.asarray(state, dtype=np.float64)

    def block(drawn: np.ndarray) -> Scores:
        sums = (drawn @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])
        return scores_from_counts(sums, values.sum(axis=0))

    return blockwise(times, len(values), block)


def made_of(state: np.ndarray) -> dict[str, list[MadeOf]]:
    """What the scores of (B, C, 2, 4) events are made of: the cells of their class, those of the focus overall."""
    everything, true = np.ones(len(state), bool), state[:, :, 1, [0, 2]].sum(axis=-1) > 0  # (B, C)
    per_class = [MadeOf(everything, (row,)) for row in true.T]
    macro_mean = MadeOf(everything, tuple(row for row in true.T if row.any()))
    return {"overall": per_class[:1], MACRO: [macro_mean], "per_class": per_class}


def truth(state: np.ndarray) -> np.ndarray:
    """(B, C, 2) cells in and outside each true class: equal for all models on the same cells."""
    cells = state[:, :, 1].astype(np.int64)  # (B, C, 4)
    return np.stack([cells[:, :, [0, 2]].sum(axis=-1), cells[:, :, [1, 3]].sum(axis=-1)], axis=-1)


def scores_from_counts(counts: np.ndarray, whole: np.ndarray) -> Scores:
    """The scores of (R, C, 2, 4) sums over events; the classes of the macro means are those of `whole` (C, 2, 4)."""
    result: Scores = {"overall": {}, "per_class": {}}
    for weighting, suffix in enumerate(WEIGHTINGS):
        tp, fp, fn, tn = np.moveaxis(np.asarray(counts, dtype=np.float64)[:, :, weighting], -1, 0)  # (R, C) each
        total, occurs = tp + fp + fn + tn, tp + fp + fn > 0
        by_class = {
            "f1": ratio(2 * tp, 2 * tp + fp + fn, occurs),
            "precision": ratio(tp, tp + fp, occurs),
            "recall": ratio(tp, tp + fn, occurs),
            "accuracy": ratio(tp + tn, total, total > 0),
            "majority_accuracy": ratio(np.maximum(tp + fn, fp + tn), total, total > 0),
        }
        result["per_class"] |= {name + suffix: value for name, value in by_class.items()}
        result["overall"] |= {name + suffix: value[:, 0] for name, value in by_class.items()}
        result["overall"]["macro_f1" + suffix] = macro(by_class["f1"], whole[:, weighting, :3].sum(axis=-1) > 0)
    return result


def extra(state: np.ndarray) -> dict[str, Any]:
    """Plain values beside the scores: cells, energy, and per class the four sums and the share that is true.

    That share is also the expected F1 of random guesses with the class's frequency, a lower reference.
    """
    values = np.asarray(state, dtype=np.float64)
    n_cells = values[:, 0, 1].sum(axis=-1)  # (B,)
    total = values.sum(axis=0)  # (C, 2, 4)
    return {
        "n_cells": int(n_cells.sum()),
        "n_events_without_cells": int((n_cells == 0).sum()),
        "energy_gev": float(total[0, 0].sum()),
        "counts": {
            label: {
                "energy_gev": dict(zip(COLUMNS, class_counts[0].tolist(), strict=True)),
                "cells": dict(zip(COLUMNS, class_counts[1].astype(int).tolist(), strict=True)),
            }
            for label, class_counts in zip(rows("per_class", len(total)), total, strict=True)
        },
        "true_share": {
            label: {name: _true_share(class_counts[i]) for i, name in enumerate(("energy_gev", "cells"))}
            for label, class_counts in zip(rows("per_class", len(total)), total, strict=True)
        },
    }


def _true_share(counts: np.ndarray) -> float | None:
    """(tp + fn) / all of (4,) counts; None without counts."""
    all_ = counts.sum()
    return plain(ratio(counts[0] + counts[2], all_, all_ > 0))


def _check_shapes(
    probabilities: np.ndarray, fractions: np.ndarray, energy_gev: np.ndarray, is_cell: np.ndarray, offsets: np.ndarray
) -> None:
    if probabilities.ndim != 2 or not 1 <= probabilities.shape[1] <= len(CLASSES):
        raise BenchmarkError(
            f"The probabilities have shape {probabilities.shape}. (points, 1 to {len(CLASSES)} classes) was expected. "
            f"Check what the model's predict returns."
        )
    n_rows = len(probabilities)
    if fractions.shape != probabilities.shape or energy_gev.shape != (n_rows,) or is_cell.shape != (n_rows,):
        raise BenchmarkError(
            f"There are probabilities of shape {probabilities.shape}, fractions of shape {fractions.shape}, energies "
            f"of shape {energy_gev.shape} and cell flags of shape {is_cell.shape}. One row per point was expected of "
            f"each. Check what the model's predict returns."
        )
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != n_rows or (np.diff(offsets) < 0).any():
        raise BenchmarkError(
            f"The events' offsets do not cut {n_rows} points into events. Offsets that rise from 0 to {n_rows} were "
            f"expected. Check how the batch was made."
        )


def _check_values(probabilities: np.ndarray, fractions: np.ndarray, energy_gev: np.ndarray) -> None:
    """Check the values of cells."""
    for name, values, remedy in (
        ("probabilities", probabilities, "Pass them through a sigmoid or softmax first."),
        ("fractions", fractions, "Check the data set's labels."),
    ):
        n_bad = int((~((values >= 0) & (values <= 1 + 1e-5))).any(axis=1).sum())
        if n_bad:
            raise BenchmarkError(
                f"{n_bad} of {len(values)} cells have {name} outside 0 to 1. Values from 0 to 1 were expected. {remedy}"
            )
    n_bad = int((~np.isfinite(energy_gev)).sum())
    if n_bad:
        raise BenchmarkError(
            f"{n_bad} of {len(energy_gev)} cells have energies that are not finite. Finite energies were expected. "
            f"Check the data set."
        )
