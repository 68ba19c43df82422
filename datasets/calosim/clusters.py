"""Clusters of one event with their moments and cells, from the measured cells and the true energies.

Moments follow EPJC 77 (2017) 490, section 4: direction by |E|-weighted cells, centre by positive ones, CENTER_LAMBDA
from the front of EMB1 along the direction from the detector's middle, FIRST_ENG_DENS the energy-weighted mean of a
cell's energy over its volume (GeV/mm3), ISOLATION the share of free cells around the cluster, weighted by the layers'
energies. ENG_CALIB_OUT_T and ENG_CALIB_DEAD_TOT: true energy outside of all clusters, and in dead matter, assigned to
the nearest cluster within `OUT_DISTANCE`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit
from benchmark.datasets._mltree import N_TRUTH_PER_CELL

from .geometry import BORDERS_MM, DEAD_ETA, DEAD_PHI, ETA_SIZE, FIRST, MAX_ETA, N_PHI, Floats, Ints, grid
from .readout import Readout
from .state import N_TOUCHED, State
from .topological import find_clusters, find_peaks, split

MIN_CLUSTER_GEV = 0.5
MIN_CELL_GEV = 0.005
OUT_DISTANCE = 0.5
MOMENTS = (
    "E", "Eta", "Phi", "ENG_CALIB_TOT", "ENG_CALIB_OUT_T", "ENG_CALIB_DEAD_TOT", "CENTER_MAG", "CENTER_LAMBDA",
    "FIRST_ENG_DENS", "ISOLATION",
)  # fmt: skip
_E, _ETA, _PHI, _TOT, _OUT, _DEAD, _MAG, _LAMBDA, _DENSITY, _ISOLATION = range(len(MOMENTS))
_FRONT_MM = BORDERS_MM[1]
_N_LAYERS = len(ETA_SIZE)
_DETA, _DPHI = np.array(ETA_SIZE), 2.0 * math.pi / np.array(N_PHI)


class Labels(NamedTuple):
    """Which cell belongs to which cluster."""

    label: npt.NDArray[np.int32]  # (G,) cluster before splitting, -1 for none
    part: npt.NDArray[np.int32]  # (G,) cluster after splitting, -1 for none
    second: npt.NDArray[np.int32]  # (G,) the other cluster of a shared cell, or -1
    weight: Floats  # (G,) share of `part`


class Clusters(NamedTuple):
    """K clusters of an event by falling energy with M cells in all."""

    moments: Floats  # (K, len(MOMENTS))
    n_cells: Ints  # (K,) cells that are written
    rows: Ints  # (M,) of the geometry
    energy: Floats  # (M,) GeV, the cluster's share
    truth: Floats  # (M, 4) by kind, the cluster's share
    hit_row: Ints  # (M, 3) rows of truth particles
    hit_energy: Floats  # (M, 3) the cluster's share


def make_labels() -> Labels:
    """No cell belongs to a cluster."""
    n = FIRST[-1]
    return Labels(np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.zeros(n))


def cluster_cells(state: State, readout: Readout, labels: Labels) -> Clusters:
    """Cluster the measured cells. labels: `make_labels()`, restored on return."""
    return Clusters(*_cluster_cells(state, readout, grid(), labels))


@njit(cache=True)
def _cluster_cells(c, out, grid, labels):
    rows = out.rows[: out.count[0]]
    n_parents = find_clusters(out.energy, rows, grid, labels.label)
    n_parts = _split_all(rows, n_parents, out.energy, grid, labels)
    moments, members, member_rows, member_weights = _measure(rows, n_parts, out.energy, c, grid, labels)
    selected = np.flatnonzero(moments[:, _E] > MIN_CLUSTER_GEV)
    selected = selected[np.argsort(-moments[selected, _E])]
    moments = moments[selected]
    _outside(c, grid, labels, selected, n_parts, moments)
    cells = _write(selected, members, member_rows, member_weights, out.energy, c)
    for row in rows:  # restore
        labels.label[row] = -1
        labels.part[row] = -1
        labels.second[row] = -1
    return moments, cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]


@njit(cache=True)
def _by_number(numbers, n):
    """(starts (n + 1,), order) of the entries by their number, those below 0 left out."""
    starts = np.zeros(n + 1, np.int64)
    for number in numbers:
        if number >= 0:
            starts[number + 1] += 1
    starts = np.cumsum(starts)
    order, next_slot = np.empty(starts[n], np.int64), starts[:-1].copy()
    for k in range(len(numbers)):
        if numbers[k] >= 0:
            order[next_slot[numbers[k]]] = k
            next_slot[numbers[k]] += 1
    return starts, order


@njit(cache=True)
def _split_all(rows, n_parents, energy, grid, labels):
    starts, order = _by_number(labels.label[rows], n_parents)
    n_parts = 0
    for k in range(n_parents):
        cells = rows[order[starts[k] : starts[k + 1]]]
        peaks = find_peaks(cells, energy, grid, labels.label, _DETA, _DPHI)
        n_parts += split(cells, peaks, energy, grid, labels.label, labels.part, labels.second, labels.weight, n_parts)
    return n_parts


@njit(cache=True)
def _measure(rows, n_parts, energy, c, grid, labels):
    """Moments of all parts, and their members: starts (K + 1,), rows and weights, a shared cell in both."""
    n = len(rows)
    numbers = np.concatenate((labels.part[rows], labels.second[rows]))
    members, order = _by_number(numbers, n_parts)
    member_rows, member_weights = np.empty(len(order), np.int64), np.empty(len(order))
    for k in range(len(order)):
        row = rows[order[k] % n]
        member_rows[k] = row
        member_weights[k] = labels.weight[row] if order[k] < n else 1.0 - labels.weight[row]
    moments = np.zeros((n_parts, len(MOMENTS)))
    for k in range(n_parts):
        part = slice(members[k], members[k + 1])
        _moments(moments[k], member_rows[part], member_weights[part], energy, c, grid)
        moments[k, _ISOLATION] = _isolation(k, member_rows[part], member_weights[part], energy, grid, labels)
    return moments, members, member_rows, member_weights


@njit(cache=True)
def _moments(m, rows, weights, energy, c, grid):
    size, positive, eta, x, y, density = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    centre = np.zeros(3)
    for k in range(len(rows)):
        row, e = rows[k], weights[k] * energy[rows[k]]
        m[_E] += e
        for kind in range(4):
            m[_TOT] += weights[k] * c.truth[row, kind]
        size += abs(e)
        eta += abs(e) * grid.eta[row]
        x += abs(e) * grid.x_mm[row] / grid.r_mm[row]
        y += abs(e) * grid.y_mm[row] / grid.r_mm[row]
        if e > 0.0:
            positive += e
            centre[0] += e * grid.x_mm[row]
            centre[1] += e * grid.y_mm[row]
            centre[2] += e * grid.z_mm[row]
            density += e * e / grid.volume_mm3[row]
    if positive <= 0.0:
        return
    m[_ETA], m[_PHI] = eta / size, math.atan2(y, x)
    centre /= positive
    m[_MAG] = math.sqrt(centre[0] ** 2 + centre[1] ** 2 + centre[2] ** 2)
    r = math.sqrt(centre[0] ** 2 + centre[1] ** 2)
    m[_LAMBDA] = max((r - _FRONT_MM) / r * m[_MAG], 1.0)
    m[_DENSITY] = density / positive


@njit(cache=True)
def _isolation(number, rows, weights, energy, grid, labels):
    free, edge, layer_energy = np.zeros(_N_LAYERS), np.zeros(_N_LAYERS), np.zeros(_N_LAYERS)
    for k in range(len(rows)):
        row = rows[k]
        layer = grid.layer[row]
        layer_energy[layer] += max(weights[k] * energy[row], 0.0)
        for j in range(grid.starts[row], grid.starts[row] + grid.n_same[row]):
            other = grid.near[j]
            if labels.part[other] != number and labels.second[other] != number:
                edge[layer] += 1.0
                free[layer] += 1.0 if labels.part[other] < 0 else 0.0
    total, mean = 0.0, 0.0
    for layer in range(_N_LAYERS):
        if edge[layer] > 0.0:
            total += layer_energy[layer]
            mean += layer_energy[layer] * free[layer] / edge[layer]
    return mean / total if total > 0.0 else 1.0


@njit(cache=True)
def _nearest(eta, phi, moments):
    best, number = OUT_DISTANCE * OUT_DISTANCE, -1
    for k in range(len(moments)):
        d = abs(phi - moments[k, _PHI])
        d = min(d, 2.0 * math.pi - d)
        distance = (eta - moments[k, _ETA]) ** 2 + d * d
        if distance < best:
            best, number = distance, k
    return number


@njit(cache=True)
def _outside(c, grid, labels, selected, n_parts, moments):
    """Fill ENG_CALIB_OUT_T and ENG_CALIB_DEAD_TOT of the selected clusters."""
    is_selected = np.zeros(n_parts + 1)  # the last entry: no cluster, number -1
    is_selected[selected] = 1.0
    for k in range(c.count[N_TOUCHED]):
        row = c.touched[k]
        weight = labels.weight[row]
        inside = 0.0
        if labels.part[row] >= 0:
            inside = weight * is_selected[labels.part[row]] + (1.0 - weight) * is_selected[labels.second[row]]
        if inside < 1.0:
            number = _nearest(grid.eta[row], grid.phi[row], moments)
            if number >= 0:
                moments[number, _OUT] += (1.0 - inside) * c.truth[row].sum()
    for k in range(len(c.dead)):
        if c.dead[k] > 0.0:
            eta = -MAX_ETA + (k // DEAD_PHI + 0.5) * 2.0 * MAX_ETA / DEAD_ETA
            phi = -math.pi + (k % DEAD_PHI + 0.5) * 2.0 * math.pi / DEAD_PHI
            number = _nearest(eta, phi, moments)
            if number >= 0:
                moments[number, _DEAD] += c.dead[k]


@njit(cache=True)
def _write(selected, members, member_rows, member_weights, energy, c):
    """The cells above the threshold of the selected clusters: counts, rows, energies, truth, hits."""
    n_cells = np.zeros(len(selected), np.int64)
    n = 0
    for k in range(len(selected)):
        n += members[selected[k] + 1] - members[selected[k]]
    rows, cell_energy, truth = np.empty(n, np.int64), np.empty(n), np.empty((n, 4))
    hit_row, hit_energy = np.full((n, N_TRUTH_PER_CELL), -1, np.int64), np.zeros((n, N_TRUTH_PER_CELL))
    n = 0
    for k in range(len(selected)):
        for m in range(members[selected[k]], members[selected[k] + 1]):
            row, weight = member_rows[m], member_weights[m]
            if weight * energy[row] <= MIN_CELL_GEV:
                continue
            rows[n], cell_energy[n] = row, weight * energy[row]
            for kind in range(4):
                truth[n, kind] = weight * c.truth[row, kind]
            for j in range(N_TRUTH_PER_CELL):
                if c.top_row[row, j] >= 0:
                    hit_row[n, j], hit_energy[n, j] = c.top_row[row, j], weight * c.top_e[row, j]
            n_cells[k] += 1
            n += 1
    return n_cells, rows[:n], cell_energy[:n], truth[:n], hit_row[:n], hit_energy[:n]
