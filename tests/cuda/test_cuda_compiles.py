"""Every kernel compiles for real cards, although none is here: Triton brings NVIDIA's assembler.

The interpreter runs kernels as Python and accepts what the compiler refuses. Launches are taken down while the
interpreter runs them, then compiled by `compile_kernels.py` with the same types, constants and options.
"""

# ruff: noqa: E402  (kernels are imported where Triton can build them)

import inspect
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from builders.kernels import skip_older_triton  # before what needs it

skip_older_triton(whole_module=True)

from benchmark.cuda import _grid as grid
from benchmark.cuda import (
    attention,
    chamfer,
    clouds,
    cnms,
    convolution,
    fps,
    groups,
    kernel_maps,
    neighbours,
    segments,
)
from benchmark.ops.grouping import GroupingConfig
from benchmark.sparse.conformance import example
from benchmark.sparse.pairs import CENTRE

FILES = (attention, chamfer, cnms, convolution, fps, grid, groups, kernel_maps, neighbours, segments)
# compute capability -> bytes of shared memory that a program can have: RTX 3090 (4090 the same), and H100
CARDS = {86: 101_376, 90: 232_448}
STACK = 256  # bytes that a thread may keep outside its registers: more is slow
TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "bf16", torch.int32: "i32", torch.int64: "i64",
         torch.bool: "i1", torch.uint8: "u8"}  # fmt: skip
CHANNELS = ((20, 33), (64, 64), (512, 512))


def kernels():
    """(file, name) of every kernel that is launched, not called by another."""
    found = set()
    for file in FILES:
        text = inspect.getsource(file)
        for name, value in vars(file).items():
            function = getattr(value, "fn", None)  # of what triton.jit has made
            if getattr(function, "__module__", None) == file.__name__ and f"{name}[" in text:
                found.add((file.__name__, name))
    return found


@pytest.fixture(scope="module")
def launches():
    """What is launched by all operations, each once."""
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled by using them")
    from triton.runtime.interpreter import GridExecutor

    taken, run = {}, GridExecutor.__call__

    def note(self, *arguments, **named):
        launch = described(self.fn, self.arg_names, self.constexprs, arguments, named)
        taken[json.dumps(launch, sort_keys=True)] = launch
        if self.fn.__module__ != convolution.__name__:  # of which sizes are wanted that take the interpreter minutes
            run(self, *arguments, **named)

    GridExecutor.__call__ = note
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convolution, "n_programs", lambda device: 10_000)  # so that gradients come in pieces
            exercise()
    finally:
        GridExecutor.__call__ = run
    return list(taken.values())


def described(function, names, constexprs, arguments, named):
    """Types, constants and options of a launch, as Triton would specialise it."""
    given = dict(zip(names, arguments, strict=False)) | {n: v for n, v in named.items() if n in names}
    options = {n: v for n, v in named.items() if n in ("num_warps", "num_stages", "enable_fp_fusion")}
    types, constants, aligned = {}, {}, []
    for name, value in given.items():
        if name in constexprs or value is None or (type(value) is int and value == 1):
            constants[name] = value
        elif isinstance(value, torch.Tensor):
            types[name] = "*" + TYPES[value.dtype]
            aligned.append(name)
        elif isinstance(value, float):
            types[name] = "fp32"
        else:
            types[name] = "i1" if isinstance(value, bool) else "i32"
            if not isinstance(value, bool) and value % 16 == 0:
                aligned.append(name)
    return {
        "module": function.__module__, "kernel": function.__name__, "types": types, "constants": constants,
        "aligned": aligned, "options": options,
    }  # fmt: skip


def exercise():
    """All operations, on little data."""
    draw = torch.Generator().manual_seed(0)
    points = torch.randint(0, 12, (40, 3), generator=draw).float()
    cloud = clouds.Clouds.of(points, (25, 15))
    for strategy in ("cnms_ball", "fps_cnms_ball", "fps_ball", "fps_knn"):
        for cap in (None, 3):
            seeds = None if strategy == "cnms_ball" else 8
            groups.group(
                cloud,
                GroupingConfig(
                    3.0, n_points=4, max_groups=6, overflow="spread", n_seeds=seeds, strategy=strategy,
                    max_ball=cap, max_candidate_neighbours=cap if strategy.endswith("cnms_ball") else None,
                ),
            )  # fmt: skip
    neighbours.ball_query(points[:5], torch.zeros(5, dtype=torch.int32), cloud, 2.0).lists()
    fps.farthest_points(clouds.Clouds.of(torch.rand(fps.IN_REGISTERS + 10, 3), (fps.IN_REGISTERS + 10,)), 2)
    predicted, true = torch.rand(2, 3, 32, 4, generator=draw)
    chamfer.nearest_pairs(true, predicted, torch.ones(3, 32, dtype=torch.bool))
    sizes = torch.tensor([3, 5])
    for dtype in (torch.float32, torch.float16):
        for function in (segments.segment_max, segments.segment_sum, lambda r, s: segments.spread(r[:2], s, 8)):
            rows = torch.rand(8, 64, generator=draw).to(dtype).requires_grad_()
            function(rows, sizes).float().sum().backward()
        for dropout in (0.0, 0.1):
            query, key, value = (torch.rand(10, 2, 64).to(dtype).requires_grad_() for _ in range(3))
            tiles = attention.tiles_of((7, 3), torch.device("cpu"))
            attention.attend(query, key, value, tiles, dropout).float().sum().backward()
    sites = example(torch.device("cpu"), 50, 5)
    maps = [getattr(kernel_maps, f"{kind}_pairs")(sites) for kind in ("neighbour", "parent", "strided")]
    for n_in, n_out in CHANNELS:
        for dtype in (torch.float32, torch.bfloat16):
            for pairs, offsets, centre in ((maps[0], 27, CENTRE), (maps[1], 8, None)):
                features = torch.rand(pairs.n_source, n_in).to(dtype).requires_grad_()
                weight = torch.rand(offsets, n_in, n_out, requires_grad=True)
                convolution.convolve(features, weight, pairs, centre).float().sum().backward()


def test_every_kernel_is_among_the_launches(launches):
    assert kernels() == {(launch["module"], launch["kernel"]) for launch in launches}


def largest(launches):
    """Of each kernel and its types, the launch with the largest constants: what needs most memory."""
    chosen = {}
    for launch in launches:
        key = json.dumps([launch["module"], launch["kernel"], sorted(launch["types"].items())])
        size = math.prod(v for v in launch["constants"].values() if type(v) is int and v > 0)
        chosen[key] = max(chosen.get(key, (-1, None)), (size, launch), key=lambda pair: pair[0])
    return [launch for _, launch in chosen.values()]


@pytest.mark.parametrize("capability", CARDS)
def test_kernels_compile_and_fit_into_shared_memory_and_registers(launches, capability):
    if capability != max(CARDS):  # the code is the same, the memory smaller
        launches = largest(launches)
    script = Path(__file__).parent / "compile_kernels.py"
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(script), str(capability)], input=json.dumps(launches), env=environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    wrong = [
        (launch["module"], launch["kernel"], launch["constants"], launch["options"], found)
        for launch, found in zip(launches, results, strict=True)
        if isinstance(found, str) or found[0] > CARDS[capability] or found[1] > STACK
    ]
    assert not wrong
