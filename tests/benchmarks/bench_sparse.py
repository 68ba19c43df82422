r"""Sparse convolution: backends side by side, in one run: forward, forward and backward, peak memory.

The network and workloads of the public benchmark (small, medium, large; 4,690 to 56,700 voxels), every backend present:

    python -m pytest tests/benchmarks/bench_sparse.py --benchmark-only -k small \
        --benchmark-group-by=param:size,param:n_events,param:passes --benchmark-columns=min,median,rounds \
        --benchmark-timer=time.process_time       # processor time: other programs on the machine do not count
    python tests/benchmarks/bench_sparse.py --public PATH     # the table of what --benchmark-json=PATH has written

SPINE's UResNet (10.96 M parameters) on 5 events of 4,000 voxels with 6.2 active neighbours of 27, beside two plain
prototypes of the same algorithm:

    python tests/benchmarks/bench_sparse.py --threads 1 --rounds 5

There every implementation computes the same numbers (checked first) from the same pairs of voxels:

- `native`: ours;
- `prototype`: gather, product and scatter_add_ per offset, in a function with its own gradient;
- `autograd`: gather, product and index_add per offset, with the gradient and memory of torch's autograd.

The rounds interleave, and the least time of each counts. With one thread that is processor time, which other programs
disturb less; with more, wall time. Memory is the peak resident size of a fresh process that does one round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.baselines._uresnet import Norms, UResNet
from benchmark.hardware.environment import processor
from benchmark.sparse import BACKENDS, Sites, SparseBackend, SparseTensor, backend
from benchmark.sparse.backends import unusable
from benchmark.sparse.public_benchmark import SIZES, VOXELS, PublicNetwork, one_pass, workload

PASSES = ("forward", "forward+backward")


class Autograd(SparseBackend):
    """The algorithm in its shortest form."""

    name = "autograd"

    def version(self):
        return "this file"

    def convolve(self, x, weight, pairs, centre):
        out = x.new_zeros(pairs.n_target, weight.shape[2]) if centre is None else x @ weight[centre]
        for target, source, offset in zip(*split(pairs), pairs.offsets, strict=True):
            out = out.index_add(0, target, x.index_select(0, source) @ weight[offset])
        return out

    def submanifold(self, features, weight, sites):
        return self.convolve(features, weight, sites.neighbours, 13)

    def strided(self, features, weight, sites):
        return self.convolve(features, weight, sites.children, None)

    def inverse(self, features, weight, sites):
        return self.convolve(features, weight, sites.children.reversed, None)


class Prototype(Autograd):
    """With its own gradient: what is gathered is gathered again, not kept."""

    name = "prototype"

    def convolve(self, x, weight, pairs, centre):
        return _Scatter.apply(x, weight, pairs, centre)


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, pairs, centre):
        ctx.save_for_backward(x, weight)
        ctx.pairs, ctx.centre = pairs, centre
        out = x.new_zeros(pairs.n_target, weight.shape[2]) if centre is None else x @ weight[centre]
        for target, source, offset in zip(*split(pairs), pairs.offsets, strict=True):
            scatter(out, target, x.index_select(0, source) @ weight[offset])
        return out

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        pairs, centre = ctx.pairs, ctx.centre
        for_x, for_weight = torch.zeros_like(x), torch.zeros_like(weight)
        if centre is not None:
            for_x, for_weight[centre] = gradient @ weight[centre].t(), x.t() @ gradient
        for target, source, offset in zip(*split(pairs), pairs.offsets, strict=True):
            arrived = gradient.index_select(0, target)
            for_weight[offset] = x.index_select(0, source).t() @ arrived
            scatter(for_x, source, arrived @ weight[offset].t())
        return for_x, for_weight, None, None


def scatter(out, rows, values):
    out.scatter_add_(0, rows[:, None].expand(-1, values.shape[1]), values)


def split(pairs):
    """64-bit rows of each block, made once per set of pairs, as the prototypes need them."""
    if not hasattr(pairs, "long_rows"):
        rows = tuple(rows.long().split(pairs.sizes) for rows in (pairs.target, pairs.source))
        object.__setattr__(pairs, "long_rows", rows)
    return pairs.long_rows


def events(n_events=5, n_voxels=4000, size=768):
    """(N, 4) distinct voxels of straight, two or three voxels thick tracks with a blob at their start."""
    draw = torch.Generator().manual_seed(0)
    kept = []
    for event in range(n_events):
        voxels = torch.empty(0, 3, dtype=torch.int64)
        while len(voxels) < n_voxels:
            start, direction = torch.rand(1, 3, generator=draw) * 0.9 * size, torch.randn(1, 3, generator=draw)
            length = int(50 + 300 * torch.rand(1, generator=draw))
            line = start + direction / direction.norm() * torch.arange(length)[:, None]
            parts = [line, *(line + 0.6 * torch.randn(length, 3, generator=draw) for _ in range(2))]
            parts.append(start + 2 * torch.randn(60, 3, generator=draw))
            made = torch.cat(parts).round().long().clamp(0, size - 1)
            voxels = torch.unique(torch.cat([voxels, made]), dim=0)
        nearest = (voxels - voxels[:1]).square().sum(1).argsort(stable=True)[:n_voxels]
        kept.append(torch.cat([torch.full((n_voxels, 1), event), voxels[nearest]], dim=1))
    return torch.cat(kept)


def network():
    torch.manual_seed(0)
    return UResNet(1, 32, 5, 2, Norms(1e-4, 0.01, 0.33)), nn.Linear(32, 5)


def once(engine, coords, net, head, passes):
    """Scores; the search for neighbours is part of it."""
    sites, _ = Sites.of(coords)
    x = SparseTensor(torch.ones(len(sites), 1), sites)
    with torch.set_grad_enabled(passes != "forward"):
        scores = head(net(x, engine))
        if passes != "forward":
            scores.square().mean().backward()
    return scores.detach()


def engines():
    present = [backend(name) for name in BACKENDS if unusable(name, "cpu") is None]
    return {e.name: e for e in (*present, Prototype(), Autograd())}


def peak_mb(threads, *what):
    """Of a fresh process that does one pass: engine and passes; then, for the public network, size and workload."""
    command = [sys.executable, __file__, "--threads", str(threads), "--memory", *what]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_peak():
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage would count the parent's memory
    print(next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")))


# the public benchmark -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    """Number of events -> file with the coordinates and energies of a batch, from events simulated here."""
    from benchmark import registry
    from benchmark.datasets.larsim.production import simulate_dataset

    folder = tmp_path_factory.mktemp("public")
    simulate_dataset(folder / "sim", events=42, val=1, test=40, workers=1)
    spec = registry.dataset_spec("lartpc-sim")
    source = spec.open(spec.config(), folder / "sim").events("test")
    events = [source[i] for i in range(len(source))]
    tensors = [(torch.as_tensor(e.coords), torch.as_tensor(e.energy)) for e in events]
    for n_events in VOXELS:
        torch.save(workload(tensors, n_events), folder / f"{n_events}.pt")
    return {n_events: folder / f"{n_events}.pt" for n_events in VOXELS}


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("n_events", VOXELS)
@pytest.mark.parametrize("size", SIZES)
def test_public_benchmark(benchmark, batches, size, n_events, passes, name):
    if unusable(name, "cpu") is not None:
        pytest.skip(f"{name}: {unusable(name, 'cpu')}")
    torch.set_num_threads(1)
    coords, energies = torch.load(batches[n_events])
    torch.manual_seed(0)
    net = PublicNetwork(size)
    arguments = (net, backend(name), coords, energies, passes != "forward")
    benchmark.pedantic(one_pass, arguments, rounds=3, warmup_rounds=1)
    benchmark.extra_info["voxels"] = len(coords)
    benchmark.extra_info["peak_mb"] = peak_mb(1, name, passes, size, str(batches[n_events]))


def print_public(path):
    print(f"{'network':9}{'events':>7}{'voxels':>8}  {'backend':10}{'pass':18}{'s':>8}{'peak MB':>9}")
    for run in json.loads(Path(path).read_text(encoding="utf-8"))["benchmarks"]:
        own, extra = run["params"], run["extra_info"]
        print(
            f"{own['size']:9}{own['n_events']:7}{extra['voxels']:8}  {own['name']:10}{own['passes']:18}"
            f"{run['stats']['min']:8.3f}{extra['peak_mb']:9}"
        )


def public_memory(name, passes, size, path):
    coords, energies = torch.load(path)
    one_pass(PublicNetwork(size), backend(name), coords, energies, passes != "forward")
    print_peak()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true", help="times alone")
    parser.add_argument("--memory", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--public", type=Path, metavar="PATH", help="print the public benchmark's table, run no other")
    asked = parser.parse_args()
    if asked.public:
        print_public(asked.public)
        return
    torch.set_num_threads(asked.threads)
    if asked.memory and len(asked.memory) == 4:
        public_memory(*asked.memory)
        return
    coords, (net, head) = events(), network()
    if asked.memory:
        once(engines()[asked.memory[0]], coords, net, head, asked.memory[1])
        print_peak()
        return
    every = engines()
    reference = once(every["native"], coords, net, head, "forward")
    best = {}
    clock = time.process_time if asked.threads == 1 else time.perf_counter
    for _ in range(asked.rounds):
        for passes in PASSES:
            for name, engine in every.items():
                started = clock()
                scores = once(engine, coords, net, head, passes)
                spent = clock() - started
                best[name, passes] = min(spent, best.get((name, passes), spent))
                torch.testing.assert_close(scores, reference, atol=1e-4, rtol=1e-4)
                net.zero_grad(set_to_none=True)
    what = "processor time" if asked.threads == 1 else "wall time"
    print(f"{processor()}, {asked.threads} threads, torch {torch.__version__}, least {what} of {asked.rounds} rounds")
    print(f"{'':12}{'pass':18}{'s':>8}{'native / it':>13}{'peak MB':>9}")
    for passes in PASSES:
        for name in every:
            ratio = best["native", passes] / best[name, passes]
            memory = "-" if asked.no_memory else peak_mb(asked.threads, name, passes)
            print(f"{name:12}{passes:18}{best[name, passes]:8.3f}{ratio:13.2f}{memory:>9}")


if __name__ == "__main__":
    main()
