"""The middle slice of a scan after every preprocessing step, and the tiles cut from it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmark.errors import ConfigError
from benchmark.plots.style import shown_name
from benchmark.studies.base import Row, Study
from benchmark.studies.tile_pictures import TRUTH, bare

KEPT, LEFT_OUT = "#30638e", "#999999"
DARK, BRIGHT = 2.0, 99.8  # percentiles drawn white and black


def preprocessing_study(dataset: Any, scan: str | None = None) -> Study:
    """The steps of one scan, by name or the first one. `dataset`: one of scans cut into tiles.

    Raises ConfigError for any other dataset, DataError for a missing scan.
    """
    check_tiles(dataset)
    scan_name = scan or dataset.scans[0]
    processed = dataset.processed(scan_name)
    tiles = [t for t in dataset.table if t["scan"] == scan_name]
    rows = [_row(step) for step in processed.steps]
    return Study(
        name="preprocessing",
        rows=rows,
        settings={"scan": scan_name, "dataset": dataset.info.name, "revision": dataset.revision,
                  "chain": dict(dataset.manifest["chain"])},
        findings={"tiles": len(tiles), "kept": sum(t["place"] >= 0 for t in tiles)},
        draw=partial(_draw, processed=processed, tiles=tiles, tile=dataset.manifest["tile"], name=scan_name),
        dpi=72,
    )  # fmt: skip


def check_tiles(dataset: Any) -> None:
    """Raises ConfigError for a dataset that is not cut from scans."""
    if not (hasattr(dataset, "processed") and hasattr(dataset, "table")):
        raise ConfigError(
            f"{dataset.info.name} has no scans cut into tiles. lif-sim or lif-scans was expected. Correct --dataset."
        )


def _row(step: Any) -> Row:
    did = ", ".join(f"{key} {value}" for key, value in step.did.items())
    return {"step": step.name, "slices": step.shape[0], "rows": step.shape[1], "columns": step.shape[2], "what": did}


def _draw(plt: Any, processed: Any, tiles: list[dict[str, Any]], tile: list[int], name: str) -> Any:
    steps = [s for s in processed.steps if s.name != "z step"]
    n_columns = (len(steps) + 2) // 2
    figure, axes = plt.subplots(2, n_columns, figsize=(4.4 * n_columns, 8.8), layout="constrained")
    panels = axes.ravel()
    for axis, step in zip(panels, steps, strict=False):
        low, high = np.percentile(step.picture, (DARK, BRIGHT))
        axis.imshow(step.picture, cmap="Greys", vmin=low, vmax=high, origin="lower")
        bare(axis, f"{step.name}: {' x '.join(map(str, step.shape))}")
    last = panels[len(steps)]
    projection = processed.volume.max(axis=0)
    low, high = np.percentile(projection, (DARK, BRIGHT))
    last.imshow(projection, cmap="Greys", vmin=low, vmax=high, origin="lower")
    layers = sorted({t["z"] for t in tiles})
    for y, x in sorted({(t["y"], t["x"]) for t in tiles}):
        column = [t for t in tiles if (t["y"], t["x"]) == (y, x)]
        n_kept = sum(t["place"] >= 0 for t in column)
        box = plt.Rectangle((x, y), tile[2], tile[1], fill=False, edgecolor=KEPT if n_kept else LEFT_OUT, linewidth=1.2)
        last.add_patch(box)
        last.text(x + 6, y + 6, f"{n_kept}/{len(column)}", fontsize=8, color=KEPT)
    if processed.labels is not None:
        last.contour(processed.labels.max(axis=0) > 0, levels=[0.5], colors=[TRUTH], linewidths=0.5)
    bare(last, f"brightest of all slices, true tracks; tiles kept of {len(layers)} layers")
    for axis in panels[len(steps) + 1 :]:
        axis.set_axis_off()
    figure.suptitle(f"scan {shown_name(name)}: middle slice after each step", fontsize=11)
    return figure
