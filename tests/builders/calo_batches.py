"""Calorimeter batches built by hand: toy showers on the barrel's cells, for each of the five calorimeter tasks.

Not a simulation. Cells, labels and event quantities agree with each other, which is what tests of models need. Each
sample is drawn from a stream of its own, so that `sample("a", 1, ...)` is the second one of `make_batch(stream="a")`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from benchmark.contracts import Event, Inputs, PointBatch, Task, concatenate
from benchmark.data.cells import CellPreprocess
from benchmark.datasets._calo_samples import FRAME
from benchmark.seeding import generator
from benchmark.tasks import TASKS

CALO_TASKS = tuple(t for t in TASKS.values() if t.detector == "calorimeter")
SIZES = (90, 160, 60)  # cells of the samples
_PHI = 2 * math.pi / 256
# sampling, radius in mm, size in eta and phi, noise in GeV, share of a pi0's and of a charged pion's energy
_LAYERS = (
    (1, 1532.18, 0.025 / 8, 4 * _PHI, 0.013, 0.25, 0.12),
    (2, 1723.89, 0.025, _PHI, 0.034, 0.65, 0.33),
    (3, 1923.02, 0.05, _PHI, 0.041, 0.08, 0.10),
    (12, 2450.0, 0.1, 4 * _PHI, 0.025, 0.018, 0.25),
    (13, 2995.0, 0.1, 4 * _PHI, 0.025, 0.001, 0.17),
    (14, 3630.0, 0.2, 4 * _PHI, 0.025, 0.001, 0.03),
)
_WINDOW = 0.3  # cells stand within this distance of the axis, in eta and in phi


def make_batch(task: Task, sizes: tuple[int, ...] = SIZES, stream: str = "a") -> PointBatch:
    """Samples with these numbers of cells, and points of tracks beside them where the task has tracks."""
    return concatenate([sample(task, n, i, stream) for i, n in enumerate(sizes)])


def inputs_of(task: Task) -> Inputs:
    """What a model of the task is told of such batches."""
    preprocess = CellPreprocess.of(task)
    return Inputs(preprocess.columns, FRAME, preprocess.event_columns)


def sample(task: Task, n_cells: int, number: int = 0, stream: str = "a") -> PointBatch:
    """One sample, a batch of its own."""
    event = make_event(task, n_cells, f"{stream}{number}")
    return CellPreprocess.of(task).apply(event, task, FRAME)


def permuted(batch: PointBatch, order: np.ndarray) -> PointBatch:
    """The same points in another order, which must keep the points of an event together; links follow."""
    names = ("coords", "energy", "feats", "instance")
    arrays = {n: getattr(batch, n)[order] for n in names if getattr(batch, n) is not None}
    if batch.target is not None and len(batch.target) == batch.n_points:
        arrays["target"] = batch.target[order]
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    if batch.links.ends is not None:
        arrays["links"] = dataclasses.replace(batch.links, ends=place[batch.links.ends])
    info = {name: values[order] for name, values in batch.point_info.items()}
    return dataclasses.replace(batch, **arrays, point_info=info)


def make_event(task: Task, n_cells: int, name: str) -> Event:
    """One sample as a dataset gives it."""
    rng = generator("calo_batches", task.sample, name)
    axis = rng.uniform(-0.6, 0.6), rng.uniform(-math.pi, math.pi)
    cells = _grid(*axis)
    if task.sample == "cluster":
        return _cluster(task, cells, axis, n_cells, name, rng)
    return _track(task, cells, axis, n_cells, name, rng)


def wrap(phi):
    """Into [-pi, pi)."""
    return (phi + math.pi) % (2 * math.pi) - math.pi


def _grid(eta0: float, phi0: float) -> dict[str, np.ndarray]:
    """Every cell of the window, on lattices that begin at eta = phi = 0."""
    parts = []
    for sampling, radius, deta, dphi, sigma, _, _ in _LAYERS:
        i = np.arange(math.floor((eta0 - _WINDOW) / deta), math.ceil((eta0 + _WINDOW) / deta))
        j = np.arange(math.floor((phi0 - _WINDOW) / dphi), math.ceil((phi0 + _WINDOW) / dphi))
        eta, phi = (a.ravel() for a in np.meshgrid((i + 0.5) * deta, (j + 0.5) * dphi, indexing="ij"))
        n_phi = round(2 * math.pi / dphi)
        number = [(sampling * 2048 + a + 1024) * 256 + b % n_phi for a in i for b in j]
        same = {"sampling": sampling, "r_perp_mm": radius, "deta": deta, "dphi": dphi, "sigma_gev": sigma}
        parts.append({"eta": eta, "phi": phi, "cell": number, **{k: np.full(len(eta), v) for k, v in same.items()}})
    return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}


def _shower(cells, eta: float, phi: float, energy: float, charged: bool, rng) -> np.ndarray:
    """(n,) GeV that a particle leaves in each cell of the grid: a fluctuating share per layer, exponential across."""
    mean = np.array([layer[6 if charged else 5] for layer in _LAYERS])
    shares = rng.dirichlet(mean * (12 if charged else 60))
    r0 = 0.03 if charged else 0.012
    distance = np.hypot(cells["eta"] - eta, wrap(cells["phi"] - phi))
    density = np.exp(-distance / r0) * cells["deta"] * cells["dphi"]
    deposit = np.zeros(len(density))
    for (sampling, *_), share in zip(_LAYERS, shares, strict=True):
        here = cells["sampling"] == sampling
        deposit[here] = energy * share * density[here] / density[here].sum()
    return deposit


def _keep(cells, axis, deposits: np.ndarray, response: np.ndarray, n_cells: int, rng):
    """The n_cells cells with the highest significance. deposits (P, n) true GeV of P particles.

    Returns the cells' columns, their measured energy, and the true energies (P, n_cells).
    """
    noise = rng.normal(size=deposits.shape[1]) * cells["sigma_gev"]
    measured = np.maximum(response @ deposits + 0.3 * noise, 0.005)
    kept = np.sort(np.argsort(-measured / cells["sigma_gev"], kind="stable")[:n_cells])
    return {key: values[kept] for key, values in cells.items()}, measured[kept], deposits[:, kept]


def _columns(cells, n_tracks: int, pts, paths, axis, cluster, energy) -> dict[str, np.ndarray]:
    """Columns of a sample's points: hits of the focus track, of the others, cells. paths: (T, 2) eta and phi."""
    n, n_layers = len(energy), len(_LAYERS)
    hits = {
        "sampling": [layer[0] for layer in _LAYERS] * n_tracks,
        "r_perp_mm": [layer[1] for layer in _LAYERS] * n_tracks,
        "eta": np.repeat([p[0] for p in paths], n_layers), "phi": np.repeat([p[1] for p in paths], n_layers),
        **{key: np.zeros(n_tracks * n_layers) for key in ("deta", "dphi", "sigma_gev")},
        "cell": np.full(n_tracks * n_layers, -1),
    }  # fmt: skip
    columns = {key: np.concatenate([np.asarray(hits[key]), cells[key]]) for key in hits}
    track = np.concatenate([np.repeat(np.arange(n_tracks), n_layers), np.full(n, -1)])
    columns["category"] = np.where(track < 0, 1, np.where(track == 0, 0, 2))
    columns["track"] = track
    columns["track_pt"] = np.concatenate([np.repeat(np.asarray(pts, float), n_layers), np.zeros(n)])
    columns["cluster"] = np.concatenate([np.full(n_tracks * n_layers, -1), cluster])
    columns["delta_r"] = np.hypot(columns["eta"] - axis[0], wrap(columns["phi"] - axis[1]))
    columns["track_distance"] = np.hypot((columns["eta"] - axis[0]) / 0.025, wrap(columns["phi"] - axis[1]) / _PHI)
    for key in ("cluster_e_of_cell", "cluster_eta_of_cell", "cluster_phi_of_cell"):
        columns[key] = np.zeros(n_tracks * n_layers + n)
    for k in np.unique(cluster):
        inside = np.flatnonzero(columns["cluster"] == k)
        e = energy[cluster == k]
        columns["cluster_e_of_cell"][inside] = e.sum()
        columns["cluster_eta_of_cell"][inside] = np.average(columns["eta"][inside], weights=e)
        phi = axis[1] + np.average(wrap(columns["phi"][inside] - axis[1]), weights=e)
        columns["cluster_phi_of_cell"][inside] = wrap(phi)
    integers = ("sampling", "cell", "category", "track", "cluster")
    columns["phi"] = wrap(columns["phi"])
    return {k: np.asarray(v, np.int64 if k in integers else np.float32) for k, v in columns.items()}


def _coords(columns, axis) -> np.ndarray:
    """(N, 3) as the data sets give them."""
    parts = (
        (columns["eta"] - axis[0]) / 0.025, wrap(columns["phi"] - axis[1]) / _PHI,
        (columns["r_perp_mm"] - 1500.0) / 43.0,
    )  # fmt: skip
    return np.stack(parts, axis=1).astype(np.float32)


def _links(columns) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours in phi (kinds 0, 1) and eta (2, 3) among the cells of one layer, both ways."""
    at = {c: i for i, c in enumerate(columns["cell"].tolist()) if c >= 0}
    steps = ((c, c + step, kind) for c in at for step, kind in ((1, 0), (256, 2)))
    pairs = [(at[a], at[b], kind) for a, b, kind in steps if b in at and (kind or b % 256)]  # no step round the barrel
    both = [(a, b, kind) for a, b, kind in pairs] + [(b, a, kind + 1) for a, b, kind in pairs]
    table = np.array(both, dtype=np.int64).reshape(-1, 3)
    return table[:, :2], table[:, 2]


def _cluster(task: Task, cells, axis, n_cells: int, name: str, rng) -> Event:
    charged = bool(rng.integers(2))
    true = 10 ** rng.uniform(0.3, 2.0)
    deposits = _shower(cells, *axis, true, charged, rng)[None]
    cells, energy, deposits = _keep(cells, axis, deposits, np.array([0.8 if charged else 1.0]), n_cells, rng)
    columns = _columns(cells, 0, [], [], axis, np.zeros(n_cells, int), energy)
    total = float(energy.sum())
    p_em = float(rng.beta(1, 4) if charged else rng.beta(4, 1))
    hadronic = 1 + 0.25 * (1 - p_em)
    scalars = {
        "cluster_e": total, "cluster_eta": axis[0], "cluster_phi": axis[1], "n_cells": float(n_cells),
        "em_probability": p_em, "hadronic_weight": hadronic, "ooc_weight": 1.05, "dm_weight": 1.1,
        "lc_energy": total * hadronic * 1.05 * 1.1, "center_lambda": 100.0 + 300 * charged, "first_density": 0.01,
    }  # fmt: skip
    labels = {"pion": np.int64(charged), "log_true_energy": np.float32(math.log10(deposits.sum()))}
    links, kind = _links(columns)
    return Event(name, _coords(columns, axis), energy.astype(np.float32), labels, columns, scalars, links, kind)


def _track(task: Task, cells, axis, n_cells: int, name: str, rng) -> Event:
    """A charged pion and its track; with a second one and a photon beside it where cells are associated."""
    alone = task.sample == "track"
    n_tracks = 1 if alone else 2
    momenta = 10 ** rng.uniform(0.3, 1.7, size=2)
    away = rng.uniform(0.04, 0.12, size=2)
    angle = rng.uniform(0, 2 * math.pi, size=2)
    places = [axis, *((axis[0] + a * math.cos(b), axis[1] + a * math.sin(b)) for a, b in zip(away, angle, strict=True))]
    energies = (momenta[0], momenta[1], 10 ** rng.uniform(0.0, 1.3))
    parts = [_shower(cells, *p, e, c, rng) for p, e, c in zip(places, energies, (True, True, False), strict=True)]
    if alone:  # part of the energy stands off the axis, in a second cluster
        parts = [0.85 * parts[0], _shower(cells, *places[1], 0.15 * momenta[0], True, rng)]
    response = np.array([0.7, 0.7, 1.0][: len(parts)])
    cells, energy, deposits = _keep(cells, axis, np.stack(parts), response, n_cells, rng)
    cluster = np.argmax(deposits, axis=0)  # of the particle that gave most
    cluster = np.unique(cluster, return_inverse=True)[1]
    measured_p = momenta[:n_tracks] * (1 + rng.normal(size=n_tracks) * (0.01 + 1e-3 * momenta[:n_tracks]))
    columns = _columns(cells, n_tracks, measured_p / np.cosh(axis[0]), places[:n_tracks], axis, cluster, energy)
    sums = np.bincount(cluster, weights=energy)
    scalars = {
        "track_pt": measured_p[0] / math.cosh(axis[0]), "track_p": measured_p[0], "track_eta": axis[0],
        "track_phi": axis[1], "track_d0": 0.01, "track_z0": float(rng.normal() * 40), "track_chi2": 12.0,
        "track_ndof": 10.0, "n_clusters": float(len(sums)), "sum_e": sums.sum(), "sum_lc_e": 1.3 * sums.sum(),
        **{f"cluster_e_{i}": float(sums[i]) if i < len(sums) else 0.0 for i in range(10)},
    }  # fmt: skip
    n_hits = len(columns["cell"]) - n_cells
    if alone:
        labels = {"log_true_energy": np.float32(math.log10(momenta[0])), "pion": np.int64(1)}
    else:
        share = np.concatenate([np.zeros((n_hits, 3)), (deposits / deposits.sum(axis=0)).T])  # focus, other, neutral
        focus = np.where(columns["category"] == 1, share[:, 0] > 0.5, -1)
        labels = {"fractions": share.astype(np.float32), "focus": focus.astype(np.int64)}
    measured = np.concatenate([np.zeros(n_hits), energy]).astype(np.float32)
    links, kind = _links(columns)
    # the focus track's hits, cells by growing distance, other tracks' hits
    order = np.lexsort((columns["delta_r"] * (columns["category"] == 1), columns["category"]))
    place = np.argsort(order)
    columns = {key: values[order] for key, values in columns.items()}
    if not alone:
        labels = {key: values[order] for key, values in labels.items()}
    return Event(name, _coords(columns, axis), measured[order], labels, columns, scalars, place[links], kind)
