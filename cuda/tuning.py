"""Sizes of convolution tiles by trial: from the rule's, moving to a faster neighbour until there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from triton.errors import TritonError

from benchmark.cuda.convolution import sum_products, weight_gradient
from benchmark.cuda.tiles import by_rule, side_of
from benchmark.hardware.tiles import Tile, Use, possible, tuned
from benchmark.sparse.pairs import Pairs

MIN_GAIN = 0.97  # a better size takes at most this share of the best time; less is noise
TOLERANCE = 2e-2  # relative deviation from the rule's result that rounding may cause
Job = Callable[[], Tensor]


class Convolution(NamedTuple):
    """A convolution of a network."""

    features: Tensor  # (sources, C), in the type of the products
    weight: Tensor  # (K, C, D)
    pairs: Pairs
    centre: int | None


def tune(
    work: Sequence[Convolution], time: Callable[[Job], float], say: Callable[[str], None] = lambda text: None
) -> dict[Use, Tile]:
    """The fastest tile for each use in `work`, on one device; `time` gives a job's milliseconds.

    Sizes that do not fit on the card, or deviate from the rule's result, are skipped. This process uses
    the new table too.
    """
    table = tuned(work[0].features.device)
    table.clear()
    for convolution in work:
        for use, job in _jobs(convolution):
            if use not in table:
                before, after = _climb(use, job, time, table)
                say(f"tiles: {use}: {tuple(table[use])}, {before:.3f} -> {after:.3f} ms")
    return dict(table)


def _jobs(convolution: Convolution) -> Iterator[tuple[Use, Job]]:
    """The convolution's passes, each once for every kernel in it."""
    features, weight, pairs, centre = convolution
    _, n_in, n_out = weight.shape
    dtype = features.dtype
    kernels = weight.to(dtype)
    gradient = torch.randn(pairs.n_target, n_out, dtype=dtype, device=features.device)
    passes = (
        (n_in, n_out, partial(sum_products, features, kernels, pairs.source, pairs, pairs.into_target, centre, False)),
        (n_out, n_in, partial(sum_products, gradient, kernels, pairs.target, pairs, pairs.into_source, centre, True)),
    )
    for entering, leaving, job in passes:
        yield Use("products", entering, leaving, dtype), job
        yield Use("sums" if centre is None else "totals", entering, leaving, dtype), job
    yield Use("weights", n_in, n_out, dtype), partial(weight_gradient, features, gradient, weight, pairs, centre)


def _climb(use: Use, job: Job, time: Callable[[Job], float], table: dict[Use, Tile]) -> tuple[float, float]:
    """Put the best tile into the table; milliseconds by the rule and with it."""
    best = table[use] = by_rule(use)
    expected = job().float()
    before = fastest = time(job)
    tried, climbing = {best}, True
    while climbing:
        climbing = False
        for candidate in neighbours(use, best):
            if candidate in tried:
                continue
            tried.add(candidate)
            table[use] = candidate
            try:
                deviates = float((job().float() - expected).norm()) > TOLERANCE * float(expected.norm())
                duration = float("inf") if deviates else time(job)
            except TritonError:  # the card lacks memory or registers for these sizes
                continue
            if duration < MIN_GAIN * fastest:
                best, fastest, climbing = candidate, duration, True
    table[use] = best
    return before, fastest


def neighbours(use: Use, sizes: Tile) -> Iterable[Tile]:
    """Tiles with one size of this one halved or doubled, or one step in flight more or less."""
    for name in ("rows", "columns", "depth", "warps"):
        if use.kernel == "sums" and name == "depth":
            continue  # sums form no products
        for value in (getattr(sizes, name) // 2, getattr(sizes, name) * 2):
            candidate = sizes._replace(**{name: value})
            if possible(candidate) and not _wasteful(use, candidate):
                yield candidate
    for stages in (sizes.stages - 1, sizes.stages + 1):
        candidate = sizes._replace(stages=stages)
        if possible(candidate):
            yield candidate


def _wasteful(use: Use, sizes: Tile) -> bool:
    """Whether a side exceeds the number of channels."""
    along_in = sizes.rows if use.kernel == "weights" else sizes.depth
    return sizes.columns > side_of(use.n_out) or (use.kernel != "sums" and along_in > side_of(use.n_in))
