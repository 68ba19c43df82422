"""Comparison of a backend with dense convolution: values and gradients, at several thread counts, twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import conv3d, conv_transpose3d

from benchmark.errors import one_line
from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.sites import Sites

TOLERANCE = 1e-5  # of the largest value, in float32
AXIS_SIZE = 768  # voxels along a detector's axis
N_EVENTS = 12  # so many events of that size exceed 32-bit keys
SIDES = {"submanifold": 3, "strided": 2, "strided3": 3, "inverse": 2}  # of the kernel
OPERATIONS = tuple(SIDES)


def mismatch_reason(backend: SparseBackend, device: torch.device) -> str | None:
    """The first mismatch with dense convolution on this device in words, or None.

    Tested in single precision with gradients, also when called under autocast or inference mode.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            return _first_mismatch(backend, device)
    except Exception as error:  # any error of another package is a mismatch
        return f"its convolution fails with {type(error).__name__}: {one_line(error) or 'no message'}"


def _first_mismatch(backend: SparseBackend, device: torch.device) -> str | None:
    sites = example(device)
    for operation in OPERATIONS:
        expected = dense(operation, sites)
        for threads in (1, 2):
            with _set_threads(threads):
                for _ in range(2):
                    result = sparse(backend, operation, sites)
                    for quantity, a, b in zip(
                        ("values", "feature gradient", "weight gradient"), result, expected, strict=True
                    ):
                        error = float((a - b).abs().max() / b.abs().max())
                        if not error <= TOLERANCE:
                            return (
                                f"the {quantity} of its {operation} convolution with {threads} threads are off by "
                                f"{error:.1e} of the largest, where {TOLERANCE:.0e} was allowed"
                            )
    return _check_event_mixing(backend, device)


def example(device: torch.device, n_voxels: int = 2000, size: int = 20) -> Sites:
    """Voxels of three events that fill a fifth of their box, with negative coordinates too."""
    numbers = torch.randperm(3 * size**3, generator=torch.Generator().manual_seed(3))[: 3 * n_voxels]
    event, position = numbers // size**3, numbers % size**3
    axes = [position // size**2, position // size % size, position % size]
    return Sites.of(torch.stack([event, *(a - 5 for a in axes)], dim=1).to(device))[0]


def arguments(operation: str, sites: Sites) -> tuple[Tensor, Tensor, Tensor]:
    """Features (rows, 6), weight (offsets, 6, 5) and gradient (results, 5) of an operation on sites."""
    generator = torch.Generator().manual_seed(11)
    fine, coarse = len(sites), len(sites.coarser)
    rows = coarse if operation == "inverse" else fine
    results = coarse if operation.startswith("strided") else fine
    shapes = ((rows, 6), (SIDES[operation] ** 3, 6, 5), (results, 5))
    features, weight, gradient = (torch.randn(s, generator=generator).to(sites.coords.device) for s in shapes)
    return features, weight, gradient


def sparse(backend: SparseBackend, operation: str, sites: Sites) -> tuple[Tensor, Tensor, Tensor]:
    """Values, feature gradient and weight gradient by the backend."""
    convolve: Callable[[Tensor, Tensor, Sites], Tensor] = getattr(backend, operation.rstrip("3"))
    features, weight, gradient = arguments(operation, sites)
    features.requires_grad_()
    weight.requires_grad_()
    values = convolve(features, weight, sites)
    for_features, for_weight = torch.autograd.grad(values, (features, weight), gradient)
    return values.detach(), for_features, for_weight


def dense(operation: str, sites: Sites) -> tuple[Tensor, Tensor, Tensor]:
    """The same by torch's dense convolutions in float64, read at the active voxels."""
    features, weight, gradient = (t.double() for t in arguments(operation, sites))
    features.requires_grad_()
    weight.requires_grad_()
    fine, coarse = sites.coords, sites.coarser.coords
    origin = 2 * coarse[:, 1:].amin(0) - 2  # even, so that the halved grid starts at a voxel
    shape = (2 * (coarse[:, 1:].amax(0) + 2) - origin).tolist()
    indices = {
        "fine": _grid_indices(fine, origin),
        "coarse": _grid_indices(coarse, torch.div(origin, 2, rounding_mode="floor")),
    }
    start, end = (
        ("coarse" if operation == "inverse" else "fine"),
        ("coarse" if operation.startswith("strided") else "fine"),
    )
    size = shape if start == "fine" else [s // 2 for s in shape]
    grid = features.new_zeros(sites.n_events, *size, features.shape[1]).index_put(indices[start], features)
    grid = grid.permute(0, 4, 1, 2, 3)
    side = SIDES[operation]
    kernel = weight.view(side, side, side, *weight.shape[1:]).permute(4, 3, 2, 1, 0)  # (out, in, x, y, z)
    if operation == "submanifold":
        result = conv3d(grid, kernel, padding=1)
    elif operation.startswith("strided"):
        result = conv3d(grid, kernel, stride=2, padding=side - 2)
    else:
        result = conv_transpose3d(grid, kernel.transpose(0, 1), stride=2)
    values = result.permute(0, 2, 3, 4, 1)[indices[end]]
    for_features, for_weight = torch.autograd.grad(values, (features, weight), gradient)
    return values.detach().float(), for_features.float(), for_weight.float()


def _grid_indices(coords: Tensor, origin: Tensor) -> tuple[Tensor, ...]:
    return (coords[:, 0], *(coords[:, 1:] - origin).unbind(1))


def _check_event_mixing(backend: SparseBackend, device: torch.device) -> str | None:
    """Whether voxels of different events become neighbours, as with overflowing 32-bit keys."""
    sites = far_apart(device)
    features = torch.ones(len(sites), 1, device=device)
    values = backend.submanifold(features, torch.ones(27, 1, 1, device=device), sites)
    if bool((values != 1).any()):  # no voxel has neighbours
        return f"it takes voxels of different events for neighbours where {N_EVENTS} events span {AXIS_SIZE} voxels"
    return None


def far_apart(device: torch.device) -> Sites:
    """Voxels without neighbours, but adjacent when their row-major numbers are cut to 31 or 32 bits."""
    corners = [(0, 0, 0, 0), (N_EVENTS - 1, AXIS_SIZE - 1, AXIS_SIZE - 1, AXIS_SIZE - 1)]
    start = (5 * AXIS_SIZE + 5) * AXIS_SIZE + 5
    numbers = [start, start + 2**31 + 1, start + 2**32 - 1]
    voxels = [
        (n // AXIS_SIZE**3, n // AXIS_SIZE**2 % AXIS_SIZE, n // AXIS_SIZE % AXIS_SIZE, n % AXIS_SIZE) for n in numbers
    ]
    mirrored = [(e, z, y, x + 20) for e, x, y, z in voxels]  # the same with the first axis fastest
    return Sites.of(torch.tensor([*corners, *voxels, *mirrored], device=device))[0]


@contextmanager
def _set_threads(n: int) -> Iterator[None]:
    previous = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(previous)
