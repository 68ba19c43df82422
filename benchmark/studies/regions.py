"""Selection of tiles by the published 2-D heuristic and by the 3-D one, compared with the truth of every tile.

A good selection keeps tiles with a track, rejects tiles without, and finds regions that are tracks. The comparison
needs labels, which the selection itself does not use.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmark.contracts.colours import COLOURS
from benchmark.errors import DataError
from benchmark.studies.base import Row, Study
from benchmark.studies.preprocessing import check_tiles

METHODS = {"projection": "2-D projection (published)", "3d": "3-D"}
LEAST = (1, 2, 3, 4, 6)  # minimum number of regions of a tile that is kept


def regions_study(dataset: Any) -> Study:
    """Both methods over all tiles of a dataset with labels, kept or not. Raises ConfigError, DataError."""
    check_tiles(dataset)
    if not dataset.manifest["labelled"]:
        raise DataError(
            f"{dataset.info.name} has no labels here to compare candidate regions with. A stack of labels per "
            f"scan was expected. Give them in the table of scans, or use --dataset lif-sim."
        )
    tiles = dataset.table
    column = {name: np.array([t[name] for t in tiles]) for name in tiles[0] if name not in ("id", "scan", "split")}
    rows = [_row(column, method, least) for method in METHODS for least in LEAST]
    return Study(
        name="regions",
        rows=rows,
        settings={"dataset": dataset.info.name, "revision": dataset.revision, "chain": dict(dataset.manifest["chain"])},
        findings={"tiles": len(tiles), "tiles_with_tracks": int((column["n_tracks"] > 0).sum()),
                  "tracks": int(column["n_tracks"].sum())},
        draw=partial(_draw, rows=rows),
    )  # fmt: skip


def _row(column: dict[str, np.ndarray], method: str, least: int) -> Row:
    kept, has_track = column[f"regions_{method}"] >= least, column["n_tracks"] > 0
    return {
        "method": METHODS[method],
        "regions_at_least": least,
        "kept_with_track": _share(kept[has_track]),
        "kept_without_track": _share(kept[~has_track]),
        "share_of_kept_with_track": _share(has_track[kept]),
        "tracks_touched": float(column[f"found_{method}"].sum() / max(column["n_tracks"].sum(), 1)),
        "regions_on_tracks": float(column[f"pure_{method}"].sum() / max(column[f"regions_{method}"].sum(), 1)),
        "regions_per_tile": float(column[f"regions_{method}"].mean()),
    }


def _share(selected: np.ndarray) -> float | None:
    return float(selected.mean()) if len(selected) else None


def _draw(plt: Any, rows: list[Row]) -> Any:
    """Left: tiles kept with against without a track, a point per minimum number of regions. Right: single regions."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for number, name in enumerate(METHODS.values()):
        method_rows = [r for r in rows if r["method"] == name]
        points = [(r["kept_without_track"], r["kept_with_track"], r["regions_at_least"]) for r in method_rows]
        points = [p for p in points if None not in p]
        if points:
            left.plot([p[0] for p in points], [p[1] for p in points], "o-", color=COLOURS[number], label=name)
            for a, b, n in points:
                left.annotate(str(n), (a, b), textcoords="offset points", xytext=(5, -11), fontsize=8)
        for position, key in enumerate(("tracks_touched", "regions_on_tracks")):
            bar = right.bar(position + 0.36 * number - 0.18, method_rows[0][key], 0.34, color=COLOURS[number])
            right.bar_label(bar, fmt="%.2f", fontsize=9)
    left.set(xlabel="tiles without a track that are kept", ylabel="tiles with a track that are kept",
             xlim=(-0.03, 1.05), ylim=(0, 1.05), title="numbers: candidate regions that a tile must have")  # fmt: skip
    left.legend(frameon=False, loc="lower right")
    right.set(xticks=[0, 1], ylim=(0, 1.1), title="regions one by one")
    right.set_xticklabels(["true tracks that a region touches", "regions that touch a true track"])
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
