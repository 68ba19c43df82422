"""One scan: reactions, their image, the camera's counts, and the truth of every voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmark.ops.robust import median_and_sigma
from benchmark.seeding import generator

from .background import draw_background, expose
from .optics import Optics, render
from .plan import Piece, Plan
from .reactions import Reaction, Track, draw_reactions

BLUR = 2.0  # voxels along each axis: the smoothing of the published preprocessing; the truth is defined after it
VISIBLE_SHARE = 0.2  # of a track's peak: minimum for a voxel to belong to it
NOISE_VOXELS = 400  # side of the central square in which the noise is measured


@dataclass(frozen=True)
class Scan:
    """A simulated scan and its truth."""

    image: np.ndarray  # (Z, Y, X) uint16 counts
    instance: np.ndarray  # (Z, Y, X) uint16 number of the object that a voxel belongs to, 0 for none
    tracks: list[dict[str, Any]]  # a row per ion
    lit: tuple[int, int]  # rows that the sheet lights
    noise: float  # counts: robust sigma of the background after the blur


def make_scan(plan: Plan, piece: Piece) -> Scan:
    """A scan of a plan, from random streams of its own: independent of the order of scans."""
    physics, shape = plan.physics, plan.shape
    name = (plan.seed, piece.split, piece.number)
    background = draw_background(physics, shape, plan.voxel_um, generator("lif background", *name))
    size = tuple(n * v for n, v in zip(shape, plan.voxel_um, strict=True))
    reactions = draw_reactions(physics, size, generator("lif reactions", *name))  # type: ignore[arg-type]
    optics = Optics.of(physics, shape, plan.voxel_um)
    gain = physics.counts_per_kev * generator("lif gain", *name).lognormal(0, physics.gain_spread)
    signal = np.zeros(shape, np.float32)
    for reaction in reactions:
        positions = _voxels(np.concatenate([track.places for track in reaction.tracks]), plan)
        light = gain * np.concatenate([track.light for track in reaction.tracks])
        for share, widening in ((1 - physics.halo_share, 1.0), (physics.halo_share, physics.halo_um / physics.psf_um)):
            box = render(positions, share * light, optics, shape, widening=widening)
            if box is not None:
                signal[box.where] += box.values
    begin, end = background.lit
    signal[:, :begin] = signal[:, end:] = 0  # no light, no signal
    rng = generator("lif camera", *name)
    image = np.stack([expose(physics, background, z, signal[z], rng) for z in range(shape[0])])
    noise = _noise(image, background.lit)
    instance, tracks = _truth(reactions, plan, optics, gain, noise, background.lit)
    return Scan(image, instance, tracks, background.lit, noise)


def _voxels(positions_um: np.ndarray, plan: Plan) -> np.ndarray:
    """(n, 3) positions in voxels; the middle of voxel 0 is at 0."""
    voxels: np.ndarray = positions_um / plan.voxel_um - 0.5
    return voxels


def _noise(image: np.ndarray, lit: tuple[int, int]) -> float:
    """Robust sigma of the blurred image in a central square, including slow patterns, as a threshold sees it."""
    rows, columns = image[:, lit[0] : lit[1]], image.shape[2]
    square = [slice(max(0, n // 2 - NOISE_VOXELS // 2), n // 2 + NOISE_VOXELS // 2) for n in (rows.shape[1], columns)]
    part = rows[:, square[0], square[1]].astype(np.float32)
    return median_and_sigma(gaussian_filter(part, BLUR))[1]


def _truth(
    reactions: list[Reaction], plan: Plan, optics: Optics, gain: float, noise: float, lit: tuple[int, int]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Which object each voxel belongs to, and the table of tracks.

    A voxel belongs to the track with the largest expected signal there, after the microscope and the blur, where that
    is at least one sigma of the noise and a fifth of the track's own peak; the object is the reaction of the track. A
    track that is nowhere above the noise has no voxels.
    """
    tracks = [(number, reaction, track) for number, reaction in enumerate(reactions, 1) for track in reaction.tracks]
    owner = np.zeros(plan.shape, np.uint16)  # number of the track, from 1
    strongest = np.zeros(plan.shape, np.float32)
    peaks = []
    for i, (_, _, track) in enumerate(tracks, start=1):
        core = (1 - plan.physics.halo_share) * gain * track.light
        box = render(_voxels(track.places, plan), core, optics, plan.shape, blur=BLUR)
        if box is None:
            peaks.append(0.0)
            continue
        rows = np.arange(box.corner[1], box.corner[1] + box.values.shape[1])
        box.values[:, (rows < lit[0]) | (rows >= lit[1])] = 0
        peaks.append(float(box.values.max()))
        visible = (box.values >= max(noise, VISIBLE_SHARE * peaks[-1])) & (box.values > strongest[box.where])
        owner[box.where][visible] = i
        strongest[box.where][visible] = box.values[visible]
    n_voxels = np.bincount(owner.ravel(), minlength=len(tracks) + 1)[1:]
    object_of = np.array([0, *(number for number, _, _ in tracks)], dtype=np.uint16)
    table = [_row(*track, peak, int(n)) for track, peak, n in zip(tracks, peaks, n_voxels, strict=True)]
    return object_of[owner], table


def _row(number: int, reaction: Reaction, track: Track, peak: float, n_voxels: int) -> dict[str, Any]:
    ends = zip("01", track.ends, strict=True)
    return {
        "instance": number, "reaction": reaction.kind, "ion": track.ion.name, "energy_kev": round(track.kev, 1),
        **{f"{a}{k}_um": round(float(v), 3) for k, end in ends for a, v in zip("zyx", end, strict=True)},
        "length_um": round(track.length_um, 3), "peak_counts": round(peak, 3), "voxels": n_voxels,
    }  # fmt: skip
