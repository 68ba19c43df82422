"""Sparse convolution: networks and workloads of the public benchmark, with every backend that runs here.

bf16 on GPUs (autocast, float32 parameters), float32 on CPUs. `steady` finds the neighbours once, before the rounds, as
the published times do; `whole` finds them in every round; `graph` replays the steady pass as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.perf.measure import ROUNDS, WARM_UP, free_memory, graph_of, measure
from benchmark.sparse import BACKENDS, Sites, SparseBackend, SparseTensor, backend
from benchmark.sparse.backends import unusable
from benchmark.sparse.public_benchmark import SIZES, VOXELS, PublicNetwork, one_pass, workload

N_INPUTS = 3  # batches used in turn
PASSES = ("forward", "forward+backward")


def sparse_rows(
    events: Sequence[tuple[Tensor, Tensor]], device: str, sizes: Sequence[str] = tuple(SIZES),
    batches: Sequence[int] = tuple(VOXELS), names: Sequence[str] = BACKENDS, warm_up: int = WARM_UP,
    rounds: int = ROUNDS, say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per network, batch, backend, pass and way; `events` are whole coordinates (n, 3) and energies (n,)."""
    usable = [n for n in names if unusable(n, device) is None]
    rows = []
    for n_events in batches:
        inputs = [_move_batch(workload(part, n_events), device) for part in _rotations(events, n_events)]
        for size in sizes:
            for name in usable:
                say(f"sparse convolution: {size}, {n_events} events, {name}")
                for way, passes, timing in _timings(size, inputs, backend(name), device, warm_up, rounds):
                    rows.append(
                        {
                            "network": size, "events": n_events, "voxels": VOXELS[n_events], "backend": name,
                            "version": backend(name).version(), "pass": passes, "way": way, **timing,
                        }
                    )  # fmt: skip
    return rows


def _rotations(events: Sequence[tuple[Tensor, Tensor]], n_events: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The events in N_INPUTS rotations, for different inputs."""
    step = max(1, len(events) // N_INPUTS)
    for i in range(N_INPUTS):
        yield [*events[i * step :], *events[: i * step]]


def _move_batch(batch: tuple[Tensor, Tensor], device: str) -> tuple[Tensor, Tensor]:
    return batch[0].to(device), batch[1].to(device)


def _timings(
    size: str, inputs: Sequence[tuple[Tensor, Tensor]], engine: SparseBackend, device: str, warm_up: int, rounds: int
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    held = free_memory(device)
    torch.manual_seed(0)
    net = PublicNetwork(size).to(device)
    with_sites = [_on_sites(*batch) for batch in inputs]
    for passes in PASSES:
        backward = passes == PASSES[1]

        def steady(x: SparseTensor, backward: bool = backward) -> None:
            net.zero_grad(set_to_none=True)
            with torch.set_grad_enabled(backward), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                loss = net(x, engine).features.sum()
            if backward:
                loss.backward()

        def whole(batch: tuple[Tensor, Tensor], backward: bool = backward) -> None:
            net.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                one_pass(net, engine, *batch, backward)

        yield "steady", passes, measure(steady, with_sites, device, warm_up, rounds, held).row()
        yield "whole", passes, measure(whole, inputs, device, warm_up, rounds, held).row()
        if device == "cuda" and engine.name in ("native", "triton"):
            graphs = [graph_of(lambda x=x: steady(x)) for x in with_sites]  # type: ignore[misc]
            yield "graph", passes, measure(lambda graph: graph.replay(), graphs, device, warm_up, rounds, held).row()
            del graphs


def _on_sites(coords: Tensor, energies: Tensor) -> SparseTensor:
    sites, row = Sites.of(coords)
    return SparseTensor(torch.empty_like(energies).index_copy(0, row, energies), sites)
