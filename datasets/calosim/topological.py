"""Topological clusters "4-2-0" and their splitting at local maxima (ATLAS, EPJC 77 (2017) 490).

A cluster is a connected set of cells above 2 sigma with a seed above 4 sigma among them, and all neighbours of these
cells. Neighbours are the 8 around a cell in its layer and overlapping cells in adjacent layers. A boundary cell joins
the cluster of its most significant neighbour.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.compiled import njit

from .geometry import N_EM

SEED, GROW = 4.0, 2.0  # |E| / sigma
MIN_PEAK_GEV, MIN_PEAK_NEIGHBOURS = 0.5, 4
_SCALE_MM = 50.0  # unit of distance for shared cells
_EMB1 = 0


@njit(cache=True)
def find_clusters(energy, rows, grid, label):
    """Label the active cells `rows` (N,) with cluster numbers 0, 1, ... or -1 in `label` (G,). Returns their number.

    label: -1 everywhere on entry. Clusters are numbered in the order of `rows`.
    """
    n_clusters = 0
    stack = np.empty(len(rows), np.int32)
    for row in rows:
        if label[row] >= 0 or abs(energy[row]) <= SEED * grid.sigma_gev[row]:
            continue
        label[row] = n_clusters
        stack[0], height = row, 1
        while height > 0:
            height -= 1
            at = stack[height]
            for k in range(grid.starts[at], grid.starts[at + 1]):
                other = grid.near[k]
                if label[other] < 0 and abs(energy[other]) > GROW * grid.sigma_gev[other]:
                    label[other] = n_clusters
                    stack[height] = other
                    height += 1
        n_clusters += 1
    if n_clusters > 0:
        _add_boundary(energy, rows, grid, label, stack)
    return n_clusters


@njit(cache=True)
def _add_boundary(energy, rows, grid, label, chosen):
    for m in range(len(rows)):
        row = rows[m]
        chosen[m] = -1
        if label[row] >= 0:
            continue
        best = 0.0
        for k in range(grid.starts[row], grid.starts[row + 1]):
            other = grid.near[k]
            significance = abs(energy[other]) / grid.sigma_gev[other]
            if label[other] >= 0 and significance > best:
                best = significance
                chosen[m] = label[other]
    for m in range(len(rows)):  # in a second loop: boundary cells do not extend clusters
        if chosen[m] >= 0:
            label[rows[m]] = chosen[m]


@njit(cache=True)
def _is_peak(row, energy, grid, label):
    n_near = 0
    for k in range(grid.starts[row], grid.starts[row + 1]):
        other = grid.near[k]
        if label[other] == label[row]:
            n_near += 1
            if energy[other] > energy[row] or (energy[other] == energy[row] and other < row):
                return False
    return n_near >= MIN_PEAK_NEIGHBOURS


@njit(cache=True)
def _overlap(a, b, grid, deta, dphi):
    """Do two cells overlap in eta and phi?"""
    difference = abs(grid.phi[a] - grid.phi[b])
    difference = min(difference, 2.0 * math.pi - difference)
    near_eta = abs(grid.eta[a] - grid.eta[b]) < 0.5 * (deta[grid.layer[a]] + deta[grid.layer[b]]) - 1e-9
    return near_eta and difference < 0.5 * (dphi[grid.layer[a]] + dphi[grid.layer[b]]) - 1e-9


@njit(cache=True)
def find_peaks(cells, energy, grid, label, deta, dphi):
    """Rows of the local maxima of one cluster: those in EMB2 and EMB3, then others that overlap with none of them."""
    peaks = np.empty(len(cells), np.int32)
    n_peaks = 0
    for row in cells:
        layer = grid.layer[row]
        if _EMB1 < layer < N_EM and energy[row] > MIN_PEAK_GEV and _is_peak(row, energy, grid, label):
            peaks[n_peaks] = row
            n_peaks += 1
    n_first = n_peaks
    for row in cells:
        layer = grid.layer[row]
        if _EMB1 < layer < N_EM or energy[row] <= MIN_PEAK_GEV or not _is_peak(row, energy, grid, label):
            continue
        hidden = False
        for m in range(n_first):
            hidden = hidden or _overlap(row, peaks[m], grid, deta, dphi)
        if not hidden:
            peaks[n_peaks] = row
            n_peaks += 1
    return peaks[:n_peaks]


@njit(cache=True)
def split(cells, peaks, energy, grid, label, part, second, weight, first_part):
    """Divide one cluster's `cells` (N,) among its local maxima, of numbers first_part, first_part + 1, ...

    Cells join in order of falling energy the part that they touch; a cell that touches two or more is shared by the
    two whose maxima are highest. Fills (G,) arrays at these rows: `part`, `second` (-1 for a cell that is not shared)
    and `weight`, the share of `part`. part: -1 for all cells of the event on entry.
    """
    if len(peaks) < 2:
        for row in cells:
            part[row], second[row], weight[row] = first_part, -1, 1.0
        return max(len(peaks), 1)
    height = np.empty(len(peaks))
    for m in range(len(peaks)):
        part[peaks[m]], second[peaks[m]], weight[peaks[m]] = first_part + m, -1, 1.0
        height[m] = energy[peaks[m]]
    order = cells[np.argsort(-energy[cells])]
    shared_may_pass = False
    while True:
        n_new, n_open = 0, 0
        for row in order:
            if part[row] >= 0:
                continue
            if _join(row, grid, label, part, second, weight, height, first_part, shared_may_pass):
                n_new += 1
            else:
                n_open += 1
        if n_open == 0 or (n_new == 0 and shared_may_pass):
            break
        shared_may_pass = n_new == 0
    for row in order:  # does not occur in a connected cluster
        if part[row] < 0:
            part[row], second[row], weight[row] = first_part, -1, 1.0
    _share(cells, peaks, energy, grid, part, second, weight, first_part)
    return len(peaks)


@njit(cache=True)
def _join(row, grid, label, part, second, weight, height, first_part, shared_may_pass):
    """Give a cell to the parts that it touches; False if it touches none."""
    best, next_best = -1, -1
    for k in range(grid.starts[row], grid.starts[row + 1]):
        other = grid.near[k]
        if label[other] != label[row] or part[other] < 0 or (second[other] >= 0 and not shared_may_pass):
            continue
        m = part[other] - first_part
        if m in (best, next_best):
            continue
        if best < 0 or height[m] > height[best]:
            best, next_best = m, best
        elif next_best < 0 or height[m] > height[next_best]:
            next_best = m
    if best < 0:
        return False
    part[row], weight[row] = first_part + best, 1.0
    second[row] = first_part + next_best if next_best >= 0 else -1
    return True


@njit(cache=True)
def _share(cells, peaks, energy, grid, part, second, weight, first_part):
    """Weights of shared cells, E1 / (E1 + r E2) with r = exp(d1 - d2) and distances d to the parts' centres."""
    sums = np.zeros((len(peaks), 4))
    for row in cells:
        if second[row] < 0 and energy[row] > 0.0:
            m = part[row] - first_part
            sums[m, 0] += energy[row]
            sums[m, 1] += energy[row] * grid.x_mm[row]
            sums[m, 2] += energy[row] * grid.y_mm[row]
            sums[m, 3] += energy[row] * grid.z_mm[row]
    for row in cells:
        if second[row] < 0:
            continue
        one, two = part[row] - first_part, second[row] - first_part
        ratio = math.exp(min(max(_distance(row, sums, one, grid) - _distance(row, sums, two, grid), -50.0), 50.0))
        weight[row] = sums[one, 0] / (sums[one, 0] + ratio * sums[two, 0])


@njit(cache=True)
def _distance(row, sums, m, grid):
    dx = grid.x_mm[row] - sums[m, 1] / sums[m, 0]
    dy = grid.y_mm[row] - sums[m, 2] / sums[m, 0]
    dz = grid.z_mm[row] - sums[m, 3] / sums[m, 0]
    return math.sqrt(dx * dx + dy * dy + dz * dz) / _SCALE_MM
