"""Simulated scans compared with real ones: `python -m benchmark.datasets.lifsim.validation --out FOLDER`.

The published crops are two tiles of two scans, blurred as integers; the expected ranges come from them. Values
outside their range stay in the table.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmark.io import atomic_path
from benchmark.ops.harmonic import blocks
from benchmark.ops.robust import median_and_sigma

from .optics import Optics, render
from .plan import Piece, Plan
from .scan import BLUR, Scan, make_scan
from .stopping import ALPHA, FLUORINE, LITHIUM, TRITON, slowing_down, track_length

TILE, GRID = (5, 250, 250), (1, 25, 25)
STEP_UM = 0.05  # of the drawn profiles
CROPS = "two published crops"


@dataclass(frozen=True)
class Check:
    """A measured value and its expected range."""

    what: str
    found: float
    low: float
    high: float
    source: str

    @property
    def holds(self) -> bool:
        """Whether the value is in the range."""
        return self.low <= self.found <= self.high


def checks(scans: list[Scan], plan: Plan) -> list[Check]:
    """All of them, from some scans of a plan."""
    blurred = [_lit(s) for s in scans]
    results = [
        Check("range of the triton of 2.73 MeV, um", track_length(TRITON, 2730.0), 30, 36, "literature, about 33"),
        Check("range of the alpha of 2.05 MeV, um", track_length(ALPHA, 2050.0), 5.4, 6.8, "literature, about 6.1"),
        Check("background sigma after the blur, counts", _mean(map(_low_sigma, blurred)), 1.1, 1.45, CROPS),
        Check("standard deviation of a scan after the blur, counts", _mean(b.std() for b in blurred), 1.7, 2.4, CROPS),
    ]
    for axis, name, ranges in (
        ((1, 2), "in x and y", {1: (0.90, 0.95), 2: (0.77, 0.84), 4: (0.44, 0.62)}),
        ((0,), "in z", {1: (0.92, 0.97), 2: (0.80, 0.90), 4: (0.49, 0.64)}),
    ):
        for lag, (low, high) in ranges.items():
            pairs = zip(blurred, scans, strict=True)
            value = _mean(_correlation(b, s.instance, a, lag) for b, s in pairs for a in axis)
            results.append(Check(f"correlation of the noise over {lag} voxels {name}", value, low, high, CROPS))
    peaks = np.array([r["peak_counts"] for s in scans for r in s.tracks if r["voxels"]])
    tokens, tracks = zip(*(_tiles(b, s) for b, s in zip(blurred, scans, strict=True)), strict=True)
    return [
        *results,
        Check("width of a spot after the blur at half height, voxels", _spot_width(plan), 6, 7, CROPS),
        Check("median peak of a visible track after the blur, counts", float(np.median(peaks)), 10, 70, CROPS),
        Check("tokens with signal, in tiles with any, %", 100 * _mean(tokens), 0.6, 3, CROPS),
        Check("visible tracks per tile", _mean(tracks), 0.3, 2, "assumed, after selection"),
    ]


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _lit(scan: Scan) -> np.ndarray:
    """The lit part of a scan after the blur, float32 counts, without rows that the blur mixes with dark ones."""
    begin, end = scan.lit
    return gaussian_filter(scan.image[2:-2, begin:end].astype(np.float32), BLUR)


def _low_sigma(volume: np.ndarray) -> float:
    """Mean over tiles of the standard deviation of their lowest 98%."""
    spreads = []
    for z, y, x in np.ndindex(*(n // t for n, t in zip(volume.shape, TILE, strict=True))):
        corner = [i * t for i, t in zip((z, y, x), TILE, strict=True)]
        tile = volume[tuple(slice(c, c + t) for c, t in zip(corner, TILE, strict=True))]
        spreads.append(tile[tile < np.quantile(tile, 0.98)].std())
    return float(np.mean(spreads))


def _correlation(volume: np.ndarray, instance: np.ndarray, axis: int, lag: int) -> float:
    """Autocorrelation of a square in the middle, tracks taken out."""
    y, x = (n // 2 for n in volume.shape[1:])
    part = volume[:, y - 125 : y + 125, x - 125 : x + 125]
    offset = (instance.shape[1] - volume.shape[1]) // 2
    free = instance[2:-2, offset + y - 125 : offset + y + 125, x - 125 : x + 125] == 0
    rest = np.where(free & (np.abs(part - np.median(part)) < 6), part - np.median(part), 0)
    first, second = (np.take(rest, r, axis) for r in (range(rest.shape[axis] - lag), range(lag, rest.shape[axis])))
    return float((first * second).mean() / (rest**2).mean())


def _spot_width(plan: Plan) -> float:
    optics = Optics.of(plan.physics, plan.shape, plan.voxel_um)
    middle = np.array([[plan.shape[0] / 2, plan.shape[1] / 2, plan.shape[2] / 2]])
    box = render(middle, np.ones(1), optics, plan.shape, blur=BLUR)
    assert box is not None  # in the middle of the scan
    z, y, x = np.unravel_index(int(box.values.argmax()), box.values.shape)
    profile = box.values[z, y] / box.values[z, y, x]
    fine = np.interp(np.arange(0, len(profile) - 1, 0.01), np.arange(len(profile)), profile)
    return float((fine > 0.5).sum() * 0.01)


def _tiles(volume: np.ndarray, scan: Scan) -> tuple[float, float]:
    """Share of tokens with signal in tiles that have any, and visible tracks per tile."""
    shares, tracks = [], []
    instance = scan.instance[2:-2, scan.lit[0] : scan.lit[1]]
    for z, y, x in np.ndindex(*(n // t for n, t in zip(volume.shape, TILE, strict=True))):
        tile_slices = tuple(slice(i * t, (i + 1) * t) for i, t in zip((z, y, x), TILE, strict=True))
        tile, truth = volume[tile_slices], instance[tile_slices]
        median, sigma = median_and_sigma(tile)
        signal = blocks(tile, GRID).max(axis=3) > median + 5 * sigma
        if signal.any():
            shares.append(signal.mean())
        sizes = np.bincount(truth.ravel())
        tracks.append((sizes[1:] >= 20).sum())
    return float(np.mean(shares)), float(np.mean(tracks))


def table(results: list[Check]) -> str:
    """The checks as a Markdown table."""
    lines = ["| quantity | simulated | should be | from | |", "| --- | ---: | ---: | --- | --- |"]
    for c in results:
        mark = "yes" if c.holds else "**no**"
        lines.append(f"| {c.what} | {c.found:.3g} | {c.low:g} to {c.high:g} | {c.source} | {mark} |")
    return "\n".join(lines)


def draw(scan: Scan, path: Path) -> None:
    """A PNG: stopping powers, a raw slice, and the blurred scan with the truth."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    for ion, kev, colour in ((TRITON, 2730.0, "#30638e"), (ALPHA, 2050.0, "#d1495b"), (LITHIUM, 800.0, "#00798c"),
                             (FLUORINE, 800.0, "#edae49")):  # fmt: skip
        lost = slowing_down(ion, kev, STEP_UM)
        label = f"{ion.name}, {kev / 1000:g} MeV"
        axes[0].plot((np.arange(len(lost)) + 0.5) * STEP_UM, lost / STEP_UM, color=colour, label=label)
    axes[0].set(xlabel="along the track (um)", ylabel="energy loss (keV/um)", yscale="log", ylim=(20, 2000))
    axes[0].legend(frameon=False)
    raw = scan.image[scan.image.shape[0] // 2]
    low, high = np.percentile(raw[scan.lit[0] : scan.lit[1]], (1, 99.9))
    axes[1].imshow(raw, cmap="Greys", vmin=low, vmax=high, origin="lower")
    axes[1].set_title("one slice, counts of the camera")
    blurred = gaussian_filter(scan.image.astype(np.float32), BLUR).max(axis=0)
    low, high = np.percentile(blurred[scan.lit[0] : scan.lit[1]], (2, 99.7))
    axes[2].imshow(blurred, cmap="Greys", vmin=low, vmax=high, origin="lower")
    axes[2].contour(scan.instance.max(axis=0) > 0, levels=[0.5], colors=["#d1495b"], linewidths=0.6)
    axes[2].set_title("brightest of all slices after the blur, true tracks")
    for axis in axes[1:]:
        axis.set(xlabel="x (voxels), along the light", ylabel="y (voxels)")
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=90, format="png")
    plt.close(figure)


def main() -> None:
    """Measure some scans of the default plan, print the table, and write it and the picture into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for lif_sim.csv and lif_sim.png")
    parser.add_argument("--scans", type=int, default=3, help="scans that are measured")
    arguments = parser.parse_args()
    plan = Plan(scans={"train": arguments.scans, "val": 0, "test": 0})
    scans = [make_scan(plan, Piece("train", n)) for n in range(arguments.scans)]
    results = checks(scans, plan)
    print(table(results))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "lif_sim.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["quantity", "simulated", "low", "high", "source", "holds"])
        writer.writerows([c.what, c.found, c.low, c.high, c.source, c.holds] for c in results)
    draw(scans[0], arguments.out / "lif_sim.png")


if __name__ == "__main__":
    main()
