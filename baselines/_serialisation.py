"""Serialised voxels: codes of space-filling curves, and patches of consecutive voxels.

Wu et al., "Point Transformer V3" (arXiv:2312.10035), sections 4.1 and 4.2. The z-order interleaves the bits of the
coordinates; the Hilbert curve is J. Skilling's ("Programming the Hilbert curve", AIP Conf. Proc. 707, 2004), whose
consecutive codes are neighbours. Transposed orders exchange the first two axes. For each of these curves, the code of a
voxel of twice the size is that of any voxel in it without the last three bits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ORDERS = ("z", "z-trans", "hilbert", "hilbert-trans")
BITS = 16  # per coordinate: 48 bits of code, and 15 for the number of the event
_SPREAD = (  # steps that move bit b to bit 3 b
    (32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F),
    (4, 0x10C30C30C30C30C3), (2, 0x1249249249249249),
)  # fmt: skip


def codes(coords: Tensor, order: str, bits: int = BITS) -> Tensor:
    """(N,) int64 positions on a curve of `coords` (N, 3) int64 in [0, 2^bits), `bits` at most 21. One of ORDERS."""
    axes = coords[:, [1, 0, 2]] if order.endswith("-trans") else coords
    return z_order(axes) if order.startswith("z") else hilbert(axes, bits)


def z_order(coords: Tensor) -> Tensor:
    """(N,) int64 codes of `coords` (N, 3) int64 in [0, 2^21); the first axis has the highest bit of each three."""
    spread = coords.unbind(1)
    for shift, mask in _SPREAD:
        spread = tuple((axis | (axis << shift)) & mask for axis in spread)
    x, y, z = spread
    return (x << 2) | (y << 1) | z


def hilbert(coords: Tensor, bits: int) -> Tensor:
    """(N,) int64 codes of `coords` (N, 3) int64 in [0, 2^bits). Consecutive codes are voxels that share a face."""
    # Leading zeros rotate the axes with period three, so whole periods are skipped.
    needed = int(coords.max()).bit_length() if len(coords) else 0
    bits -= 3 * ((bits - needed) // 3)
    axes = [axis.clone() for axis in coords.unbind(1)]
    for bit in range(bits - 1, 0, -1):
        lower = (1 << bit) - 1
        for i in range(3):
            is_set = -((axes[i] >> bit) & 1)  # all bits where this one is set, else none
            exchanged = (axes[0] ^ axes[i]) & lower & ~is_set
            axes[i] = axes[i] ^ exchanged
            axes[0] = axes[0] ^ (exchanged | (lower & is_set)) if i else axes[0] ^ (lower & is_set)
    axes[1] = axes[1] ^ axes[0]
    axes[2] = axes[2] ^ axes[1]
    flips = axes[2] >> 1  # bit b becomes the parity of all bits of the last axis above b
    for shift in (1, 2, 4, 8, 16):
        flips = flips ^ (flips >> shift)
    return z_order(torch.stack([axis ^ flips for axis in axes], dim=1))


class Patches(NamedTuple):
    """Rows of the patches of attention, and the slot with each row's result.

    `rows` lists whole patches of `size` rows, one after the other, then those of events with fewer rows, padded to the
    longest of them. `present` (S, longest) marks these events' rows against padding; None if there is no such event.
    """

    rows: Tensor  # (P * size + S * longest,) int64
    slots: Tensor  # (N,) int64 indices into `rows`
    n_whole: int  # P
    size: int
    present: Tensor | None


def cut(order: Tensor, lengths: Tensor, size: int) -> Patches:
    """Patches of `size` consecutive rows of the same event; `order` (N,) lists rows by event and code.

    As in the published code, an incomplete last patch is filled with the rows before it, so it holds the
    event's last `size` rows; rows in two patches take the result of the first. An event
    with fewer rows is one patch. Patches never mix events.
    """
    begins = lengths.cumsum(0) - lengths
    whole, counts = _full_patches(begins, lengths, size)
    short, present = _short_patches(begins, lengths, size)
    rows = order[torch.cat([whole.flatten(), short.flatten()])]
    used_slots = torch.cat([counts.flatten(), present.flatten()]).nonzero().squeeze(1)
    slots = torch.empty_like(order)
    slots[rows[used_slots]] = used_slots
    return Patches(rows, slots, len(whole), size, present if len(short) else None)


def _full_patches(begins: Tensor, lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Positions (P, size) of full patches in the order, and which of them are not in the previous patch."""
    steps = torch.arange(size, device=lengths.device)
    n_patches = torch.where(lengths >= size, (lengths + size - 1) // size, 0)  # (B,)
    event = torch.repeat_interleave(n_patches)  # (P,)
    number = torch.arange(len(event), device=lengths.device) - (n_patches.cumsum(0) - n_patches)[event]
    start = torch.minimum(number * size, lengths[event] - size)  # from the event's begin on
    return (begins[event] + start)[:, None] + steps, start[:, None] + steps >= number[:, None] * size


def _short_patches(begins: Tensor, lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Positions (S, longest) of events smaller than a patch, padded with their first, and which are not padding."""
    short = ((lengths < size) & (lengths > 0)).nonzero().squeeze(1)
    steps = torch.arange(int(lengths[short].max()) if len(short) else 0, device=lengths.device)
    present = steps < lengths[short, None]
    return begins[short, None] + steps * present, present
