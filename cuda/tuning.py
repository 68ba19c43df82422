"""Sizes of convolution tiles by trial: from the rule's, step by step to a neighbour that is faster, until none is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from triton.errors import TritonError

from benchmark.cuda.convolution import applied, weight_gradient
from benchmark.cuda.tiles import by_rule, side_of
from benchmark.sparse.pairs import Pairs
from benchmark.sparse.tiles import Tile, Use, possible, tuned

GAIN = 0.97  # of the time so far that a better size takes at most; less is noise
AGREES = 2e-2  # relative distance from the rule's result that rounding may cause
Job = Callable[[], Tensor]


class Convolution(NamedTuple):
    """A convolution that a network has asked for."""

    features: Tensor  # (sources, C), in the type of the products
    weight: Tensor  # (K, C, D)
    pairs: Pairs
    centre: int | None


def tune(
    work: Sequence[Convolution], time: Callable[[Job], float], say: Callable[[str], None] = lambda text: None
) -> dict[Use, Tile]:
    """The fastest tile found for each use in `work`, on one device; `time` gives a job's milliseconds.

    Sizes that do not fit on the card, or depart from the rule's result, are passed over. This process computes with
    what is found, too.
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
        (n_in, n_out, partial(applied, features, kernels, pairs.source, pairs, pairs.into_target, centre, False)),
        (n_out, n_in, partial(applied, gradient, kernels, pairs.target, pairs, pairs.into_source, centre, True)),
    )
    for entering, leaving, job in passes:
        yield Use("products", entering, leaving, dtype), job
        yield Use("sums" if centre is None else "totals", entering, leaving, dtype), job
    yield Use("weights", n_in, n_out, dtype), partial(weight_gradient, features, gradient, weight, pairs, centre)


def _climb(use: Use, job: Job, time: Callable[[Job], float], table: dict[Use, Tile]) -> tuple[float, float]:
    """Put the best tile found into the table; milliseconds by the rule and with it."""
    best = table[use] = by_rule(use)
    expected = job().float()
    before = least = time(job)
    tried, climbing = {best}, True
    while climbing:
        climbing = False
        for other in neighbours(use, best):
            if other in tried:
                continue
            tried.add(other)
            table[use] = other
            try:
                departs = float((job().float() - expected).norm()) > AGREES * float(expected.norm())
                took = float("inf") if departs else time(job)
            except TritonError:  # the card lacks memory or registers for these sizes
                continue
            if took < GAIN * least:
                best, least, climbing = other, took, True
    table[use] = best
    return before, least


def neighbours(use: Use, sizes: Tile) -> Iterable[Tile]:
    """Tiles with one size of this one halved or doubled, or one step in flight more or less."""
    for name in ("rows", "columns", "depth", "warps"):
        if use.kernel == "sums" and name == "depth":
            continue  # it takes no product
        for value in (getattr(sizes, name) // 2, getattr(sizes, name) * 2):
            other = sizes._replace(**{name: value})
            if possible(other) and not _wasteful(use, other):
                yield other
    for stages in (sizes.stages - 1, sizes.stages + 1):
        other = sizes._replace(stages=stages)
        if possible(other):
            yield other


def _wasteful(use: Use, sizes: Tile) -> bool:
    """Sides beyond the channels there are."""
    along_in = sizes.rows if use.kernel == "weights" else sizes.depth
    return sizes.columns > side_of(use.n_out) or (use.kernel != "sums" and along_in > side_of(use.n_in))
