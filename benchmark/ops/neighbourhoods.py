"""What lies around a point: energy, number and shape of the points in a ball, without lists of neighbours.

The grid of `ball_query` is searched once per radius; sums are taken in float64 on the way, so that time grows with the
number of neighbours and memory does not.
"""

from __future__ import annotations

import numpy as np

from benchmark.ops._grid import frame_of, keys_of, runs_around, stable_order
from benchmark.ops._jit import Float32, Float64, as_points, kernel
from benchmark.ops.neighbours import squared_radius

N_MOMENTS = 11  # count, energy, and of the displacements: 3 means, 6 second moments (xx, xy, xz, yy, yz, zz)
NAMES = ("log10_energy", "log10_count", "linearity", "planarity")


@kernel
def _moments(queries: Float32, points: Float32, energy: Float32, radius: float, limit: np.float32) -> Float64:
    """(n_queries, N_MOMENTS) sums over the points nearer than the radius to each query."""
    sums = np.zeros((queries.shape[0], 11))
    frame = frame_of(queries, points, radius)
    n_y, n_z = np.int64(frame[4]), np.int64(frame[5])
    keys = keys_of(points, frame)
    order = stable_order(keys)
    sorted_keys = keys[order]
    x, y, z = points[order, 0], points[order, 1], points[order, 2]
    sorted_energy = energy[order]
    query_keys = keys_of(queries, frame)
    for query in range(queries.shape[0]):
        runs = runs_around(query_keys[query], sorted_keys, n_y, n_z)
        px, py, pz = queries[query, 0], queries[query, 1], queries[query, 2]
        row = sums[query]
        for run in range(9):
            for position in range(runs[run, 0], runs[run, 1]):
                dx, dy, dz = x[position] - px, y[position] - py, z[position] - pz
                if dx * dx + dy * dy + dz * dz < limit:
                    # products of float32 are exact in float64: a lone neighbour's variance is 0
                    ex, ey, ez = np.float64(dx), np.float64(dy), np.float64(dz)
                    row[0] += 1.0
                    row[1] += sorted_energy[position]
                    row[2] += ex
                    row[3] += ey
                    row[4] += ez
                    row[5] += ex * ex
                    row[6] += ex * ey
                    row[7] += ex * ez
                    row[8] += ey * ey
                    row[9] += ey * ez
                    row[10] += ez * ez
    return sums


def descriptors(queries: Float32, points: Float32, energy: Float32, radius: float, floor: float = 1e-3) -> Float32:
    """(m, 4) float32 of NAMES: descriptors of the points of an event strictly nearer than `radius` to each query.

    `queries` (m, 3) and `points` (n, 3) in the unit of `radius`; energy (n,). With the eigenvalues a >= b >= c of the
    points' covariance, linearity is (a - b) / a and planarity (b - c) / a; both are 0 for a single point. `floor` is
    added to the energy before its logarithm. They do not change under rotations and translations.
    """
    query_points, all_points = as_points(queries, "queries"), as_points(points, "points")
    limit = squared_radius(radius)
    if not len(query_points) or not len(all_points):
        return np.zeros((len(query_points), len(NAMES)), dtype=np.float32)
    weights = np.ascontiguousarray(energy, dtype=np.float32)
    sums = _moments(query_points, all_points, weights, float(np.float32(radius)), limit)
    count = np.maximum(sums[:, 0], 1.0)
    mean = sums[:, 2:5] / count[:, None]
    second = sums[:, 5:] / count[:, None]
    covariance = np.empty((len(sums), 3, 3))
    for column, (i, j) in enumerate(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))):
        covariance[:, i, j] = covariance[:, j, i] = second[:, column] - mean[:, i] * mean[:, j]
    c, b, a = np.clip(np.linalg.eigvalsh(covariance), 0, None).T  # ascending
    largest = np.where(a > 1e-9, a, 1.0)
    columns = [
        np.log10(np.maximum(sums[:, 1], 0.0) + floor), np.log10(count), (a - b) / largest, (b - c) / largest,
    ]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)
