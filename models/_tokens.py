"""From a batch of points to tokens and back: groups of nearby points, and each point's interpolation between groups.

PoLAr-MAE (arXiv 2502.02558), section 3.1. Everything is ragged: tokens, members and points of all events are
concatenated in flat arrays, without padding. Events are grouped in a canonical order of their points (by coordinates,
then features), so results do not depend on the storage order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.contracts import PointBatch
from benchmark.ops import triton
from benchmark.ops.grouping import GroupingConfig, group_event
from benchmark.ops.host_tables import to_device
from benchmark.ops.neighbours import k_nearest


@dataclass(frozen=True)
class Tokens:
    """The T tokens of a batch, in the order of the events, and their M member points."""

    lengths: tuple[int, ...]  # tokens of each event, sum T
    event: Tensor  # (T,) int64 event of each token
    centres: Tensor  # (T, 3) normalised coordinates
    centre: Tensor  # (T,) int64 row of each centre in the batch
    sizes: Tensor  # (T,) int64 members of each token, sum M
    token: Tensor  # (M,) int64 token of each member
    point: Tensor  # (M,) int64 row of each member in the batch
    slot: Tensor  # (M,) int64 position of a member in its token, in the order of sampling
    inputs: Tensor  # (M, 3 + F): offset from the centre over the group's radius, then features
    max_size: int  # maximum members of a token, K

    def __len__(self) -> int:
        return len(self.centres)

    def split(self, hidden: Tensor) -> tuple[Tokens, Tokens]:
        """The tokens that are not `hidden` (T,) and those that are, each in the same order. Waits for a GPU once."""
        of_hidden = hidden[self.token]
        per_event = torch.zeros(len(self.lengths), dtype=torch.int64, device=hidden.device)
        per_event.index_add_(0, self.event, hidden.long())
        *lengths, n_members = torch.cat([per_event, of_hidden.sum()[None]]).tolist()
        n_visible, n_visible_members = len(self) - sum(lengths), len(self.token) - n_members
        rows = torch.argsort(hidden.byte(), stable=True)  # visible first
        members = torch.argsort(of_hidden.byte(), stable=True)
        number = torch.empty_like(rows)  # of a token among visible or hidden ones
        number[rows[:n_visible]] = torch.arange(n_visible, device=rows.device)
        number[rows[n_visible:]] = torch.arange(len(self) - n_visible, device=rows.device)
        visible_lengths = [whole - part for whole, part in zip(self.lengths, lengths, strict=True)]
        return (
            self._select(rows[:n_visible], members[:n_visible_members], number, visible_lengths),
            self._select(rows[n_visible:], members[n_visible_members:], number, lengths),
        )

    def _select(self, rows: Tensor, members: Tensor, number: Tensor, lengths: Sequence[int]) -> Tokens:
        return Tokens(
            lengths=tuple(lengths),
            event=self.event[rows],
            centres=self.centres[rows],
            centre=self.centre[rows],
            sizes=self.sizes[rows],
            token=number[self.token[members]],
            point=self.point[members],
            slot=self.slot[members],
            inputs=self.inputs[members],
            max_size=self.max_size,
        )

    def padded_members(self) -> tuple[Tensor, Tensor]:
        """Members as (T, K, 3 + F), zero where a slot is empty, and the mask of the filled slots (T, K)."""
        dense = self.inputs.new_zeros(len(self), self.max_size, self.inputs.shape[1])
        dense[self.token, self.slot] = self.inputs
        mask = torch.arange(self.max_size, device=self.sizes.device) < self.sizes[:, None]
        return dense, mask


class Interpolation(NamedTuple):
    """Interpolation weights of each point's nearest tokens."""

    tokens: Tensor  # (N, k) int64
    weights: Tensor  # (N, k), they sum to 1


def group_points(
    batch: PointBatch, columns: tuple[str, ...], config: GroupingConfig, as_published: bool = False
) -> Tokens:
    """Group every event of a batch; `columns` name the point features in the token's inputs.

    `config` is in the unit of the batch's coordinates, where lattice ties are exact, and an event's points are
    used in canonical order. `as_published` uses the storage order and normalised coordinates, whose rounding decides
    ties.
    """
    coords = batch.normalised_coords if as_published else batch.coords
    group = _group_on_device if triton.serves(coords.device.type) else _group_on_host
    lengths, centre, size, rows, slot = group(batch, coords, config, not as_published)
    device = coords.device
    token = torch.repeat_interleave(torch.arange(len(size), device=device), size, output_size=len(rows))
    offset = (coords[rows] - coords[centre[token]]) / config.radius
    features = [batch.column(name)[rows, None] for name in columns]
    events = torch.arange(len(lengths), device=device)
    event = torch.repeat_interleave(events, to_device(lengths, torch.int64, device), output_size=sum(lengths))
    return Tokens(
        lengths=tuple(lengths),
        event=event,
        centres=batch.normalised_coords[centre],
        centre=centre,
        sizes=size,
        token=token,
        point=rows,
        slot=slot,
        inputs=torch.cat([offset, *features], dim=1),
        max_size=config.n_points,
    )


def _group_on_host(
    batch: PointBatch, coords_tensor: Tensor, config: GroupingConfig, canonical: bool
) -> tuple[list[int], Tensor, Tensor, Tensor, Tensor]:
    """(tokens of each event, centres, sizes, members, slots): rows of the batch, by the compiled CPU code."""
    coords, offsets, feats = _as_numpy(coords_tensor), _as_numpy(batch.offsets), _as_numpy(batch.feats)
    centres, members, sizes, slots, lengths = [], [], [], [], []
    for begin, end in pairwise(offsets):
        order = np.arange(begin, end)
        if canonical:
            order = begin + canonical_order(coords[begin:end], feats[begin:end])
        groups = group_event(coords[order], config)
        centres.append(order[groups.centres])
        members.append(order[groups.indices[groups.mask]])
        sizes.append(groups.mask.sum(1))
        slots.append(np.nonzero(groups.mask)[1])
        lengths.append(len(groups.centres))
    centre, size, rows, slot = (
        torch.from_numpy(np.concatenate(p)).to(coords_tensor.device) for p in (centres, sizes, members, slots)
    )
    return lengths, centre, size, rows, slot


def _group_on_device(
    batch: PointBatch, coords: Tensor, config: GroupingConfig, canonical: bool
) -> tuple[list[int], Tensor, Tensor, Tensor, Tensor]:
    """The same on the GPU, with the same indices."""
    starts = batch.offsets.tolist()
    order = torch.arange(len(coords), device=coords.device)
    if canonical:
        for key in (*batch.feats.flip(1).unbind(1), *coords.flip(1).unbind(1), batch.event_index):
            order = order[torch.sort(key[order], stable=True).indices]  # the last key is the primary one
    clouds = triton.clouds_of(coords[order], [b - a for a, b in pairwise(starts)])
    groups = triton.group(clouds, config)
    chosen = torch.nonzero(groups.event >= 0)[:, 0]
    lengths = torch.bincount(groups.event[chosen], minlength=len(starts) - 1).tolist()
    size = groups.sizes[chosen].long()
    filled = torch.arange(config.n_points, device=coords.device) < size[:, None]
    group_row, slot = torch.nonzero(filled).unbind(1)
    rows = order[groups.indices[chosen][group_row, slot].long()]
    return lengths, order[groups.centres[chosen].long()], size, rows, slot


def interpolate_points(batch: PointBatch, tokens: Tokens, k: int, missing_at: float = float("inf")) -> Interpolation:
    """The `k` token centres nearest to each point, weighted by inverse squared distance (PointNet++, section 3.4).

    In an event with fewer tokens, a missing one is replaced by the first token at the squared distance
    `missing_at`. Distances are in normalised coordinates.
    """
    if triton.serves(batch.coords.device.type):
        return _interpolate_on_device(batch, tokens, k, missing_at)
    points, centres = _as_numpy(batch.normalised_coords), _as_numpy(tokens.centres)
    indices = np.empty((len(points), k), dtype=np.int64)
    squared = np.empty((len(points), k), dtype=np.float32)
    offsets, first = _as_numpy(batch.offsets), 0
    for (begin, end), length in zip(pairwise(offsets), tokens.lengths, strict=True):
        neighbours, distance = k_nearest(points[begin:end], centres[first : first + length], k)
        indices[begin:end] = np.maximum(neighbours, 0) + first
        squared[begin:end] = np.where(neighbours < 0, missing_at, distance)
        first += length
    return Interpolation(*(torch.from_numpy(a).to(batch.coords.device) for a in (indices, inverse_weights(squared))))


def _interpolate_on_device(batch: PointBatch, tokens: Tokens, k: int, missing_at: float) -> Interpolation:
    clouds = triton.clouds_of(tokens.centres, tokens.lengths)
    rows, squared = triton.k_nearest(batch.normalised_coords, batch.event_index.int(), clouds, k)
    first = clouds.offsets[:-1][batch.event_index][:, None]
    inverse = 1.0 / (squared.masked_fill(rows < 0, missing_at) + torch.finfo(torch.float32).eps)
    return Interpolation(torch.where(rows < 0, first, rows).long(), inverse / inverse.sum(1, keepdim=True))


def inverse_weights(squared: np.ndarray) -> np.ndarray:
    """Weights from squared distances (n, k), summing to 1 in each row; a neighbour at infinity has none."""
    inverse = 1.0 / (squared + np.finfo(np.float32).eps)
    weights: np.ndarray = (inverse / inverse.sum(1, keepdims=True)).astype(np.float32)
    return weights


def canonical_order(coords: np.ndarray, feats: np.ndarray) -> np.ndarray:
    """The order of points by x, y, z, then features: independent of the storage order."""
    keys = (*feats.T[::-1], coords[:, 2], coords[:, 1], coords[:, 0])  # lexsort's primary key is the last
    return np.lexsort(keys)


def _as_numpy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array
