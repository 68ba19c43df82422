"""Data of the first page: leaderboards with their curves."""

from __future__ import annotations

from typing import Any

from benchmark.plots.method_styles import MethodStyle, method_styles, published_styles
from benchmark.records.published import comparable
from benchmark.reports.efficiency import MACRO, Curve, classes_of, curves, labels_to_reach, reachable, smaller_is_better
from benchmark.reports.leaderboard import Cell, Leaderboard

MAX_CURVES = 40  # of a figure: more cannot be told apart


def board_data(board: Leaderboard) -> dict[str, Any]:
    """Plain values of one leaderboard, for the page's script."""
    metric = board.averages[0].record.task["primary_metric"]
    smaller = smaller_is_better(board)
    macro, n_curves = _best_curves(curves(board), smaller)
    styles = method_styles([curve.name for curve in macro])
    target = reachable(macro, smaller)
    return {
        "title": board.title, "task": board.task, "dataset": board.dataset, "metric": metric, "smaller": smaller,
        "heads": [{"title": h.title, "key": h.key, "number": h.number, "brief": h.brief} for h in board.heads],
        "rows": [
            {"cells": [_cell_values(cell) for cell in row], "runs": [run.run_name for run in average.runs]}
            for row, average in zip(board.rows, board.averages, strict=True)
        ],
        "notes": list(board.notes),
        "curves": {of: [_curve_values(c, styles[c.name]) for c in (macro if of == MACRO else curves(board, of))
                        if c.name in styles]
                   for of in (MACRO, *classes_of(board))},
        "curvesLeftOut": n_curves - len(macro),
        "needed": None if target is None else {
            "score": target,
            "rows": [[c.name, labels_to_reach(c, target, smaller).text, [p.labels for p in c.points]] for c in macro],
        },
        "published": _published_curves(board.task, metric),
    }  # fmt: skip


def _best_curves(all_curves: list[Curve], smaller: bool) -> tuple[list[Curve], int]:
    """The MAX_CURVES curves with the best score at their largest budget, by name; and the number of all."""
    sign = 1 if smaller else -1
    best = sorted(all_curves, key=lambda c: (sign * c.points[-1].value, c.name))[:MAX_CURVES]
    return sorted(best, key=lambda c: c.name), len(all_curves)


def _cell_values(cell: Cell) -> list[Any]:
    """[text, value to sort by, bold]; without the value where it equals the text."""
    value = cell.value
    return (
        [cell.text, value, 1]
        if cell.bold
        else [cell.text]
        if value is None or value == cell.text
        else [cell.text, value]
    )


def _curve_values(curve: Curve, style: MethodStyle) -> dict[str, Any]:
    points = [[p.labels, _rounded(p.value), _rounded(p.low), _rounded(p.high), p.n_runs] for p in curve.points]
    return {"name": curve.name, "points": points, **style.values()}


def _published_curves(task: str, metric: str) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Any]] = {}
    for row in comparable(task, metric):
        name = f"{row.model}, {row.setting} ({row.item})"
        groups.setdefault((name, f"{row.source}, {row.item}: {row.dataset}"), []).append(
            [row.labelled_events, row.value]
        )
    styles = published_styles(len(groups))
    return [
        {"name": name, "source": source, "points": sorted(points), **style.values()}
        for style, ((name, source), points) in zip(styles, sorted(groups.items()), strict=True)
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
