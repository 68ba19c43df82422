"""A uniform grid over the points of one event: sorted cell keys, so that a search touches 27 cells in 9 runs.

Keys are laid out with z fastest, so three neighbouring cells along z are one contiguous run of the sorted points.
"""

from __future__ import annotations

import numpy as np

from benchmark.ops._jit import Float32, Float64, Int64, kernel

DIGIT_BITS = 11  # of the radix sort: a table of 2,048 counts stays in the first-level cache
MAX_CELLS_PER_AXIS = 1 << 20  # three such axes fit in a 63-bit key
SLACK = 1.0 + 1e-4  # cells exceed the radius by more than float32 rounding can move a distance


@kernel
def frame_of(first: Float32, second: Float32, size: float) -> Float64:
    """(origin x, y, z, cell size, cells along y, cells along z) of a grid that covers both point sets."""
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    for points in (first, second):
        for i in range(points.shape[0]):
            for axis in range(3):
                low[axis] = min(low[axis], np.float64(points[i, axis]))
                high[axis] = max(high[axis], np.float64(points[i, axis]))
    cell = size * SLACK
    for axis in range(3):
        cell = max(cell, (high[axis] - low[axis]) / (MAX_CELLS_PER_AXIS - 8))
    frame = np.empty(6)
    frame[:3] = low
    frame[3] = cell
    for axis in (1, 2):  # one empty cell on either side, so that a run never wraps into the next row
        frame[3 + axis] = np.floor((high[axis] - low[axis]) / cell) + 3
    return frame


@kernel
def keys_of(points: Float32, frame: Float64) -> Int64:
    """The cell key of each point, (n,)."""
    keys = np.empty(points.shape[0], dtype=np.int64)
    n_y, n_z = np.int64(frame[4]), np.int64(frame[5])
    for i in range(points.shape[0]):
        ix = np.int64(np.floor((np.float64(points[i, 0]) - frame[0]) / frame[3])) + 1
        iy = np.int64(np.floor((np.float64(points[i, 1]) - frame[1]) / frame[3])) + 1
        iz = np.int64(np.floor((np.float64(points[i, 2]) - frame[2]) / frame[3])) + 1
        keys[i] = (ix * n_y + iy) * n_z + iz
    return keys


@kernel
def lower_bound(sorted_keys: Int64, key: int) -> int:
    """The first position whose key is at least `key`."""
    low, high = 0, sorted_keys.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if sorted_keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def runs_around(key: int, sorted_keys: Int64, n_y: int, n_z: int) -> Int64:
    """The 9 runs [start, stop) of sorted points in the 27 cells around cell `key`, (9, 2)."""
    runs = np.empty((9, 2), dtype=np.int64)
    row = 0
    for dx in range(-1, 2):
        for dy in range(-1, 2):
            middle = key + (dx * n_y + dy) * n_z
            start = lower_bound(sorted_keys, middle - 1)
            stop = start
            while stop < sorted_keys.shape[0] and sorted_keys[stop] <= middle + 1:
                stop += 1
            runs[row, 0] = start
            runs[row, 1] = stop
            row += 1
    return runs


@kernel
def stable_order(keys: Int64) -> Int64:
    """Positions that sort keys of at least 0, equal ones in their order: a radix sort, linear in the keys."""
    n = keys.shape[0]
    order, other = np.arange(n), np.empty(n, dtype=np.int64)
    largest = keys.max() if n else 0
    counts = np.empty((1 << DIGIT_BITS) + 1, dtype=np.int64)
    shift = 0
    while largest >> shift > 0:
        counts[:] = 0
        for key in keys:
            counts[((key >> shift) & ((1 << DIGIT_BITS) - 1)) + 1] += 1
        for digit in range(1 << DIGIT_BITS):
            counts[digit + 1] += counts[digit]
        for position in order:
            digit = (keys[position] >> shift) & ((1 << DIGIT_BITS) - 1)
            other[counts[digit]] = position
            counts[digit] += 1
        order, other = other, order
        shift += DIGIT_BITS
    return order


@kernel
def sort_by_cell(keys: Int64) -> tuple[Int64, Int64]:
    """(order, first): the stable order of the points by cell, and where each occupied cell starts, with the end."""
    order = stable_order(keys)
    first = np.empty(keys.shape[0] + 1, dtype=np.int64)
    n_cells = 0
    for position in range(keys.shape[0]):
        if position == 0 or keys[order[position]] != keys[order[position - 1]]:
            first[n_cells] = position
            n_cells += 1
    first[n_cells] = keys.shape[0]
    return order, first[: n_cells + 1]
