"""Sparse convolution kernels against dense convolution and the torch code, on a GPU or in Triton's interpreter."""

import itertools
from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")

from benchmark.cuda import convolution, kernel_maps
from benchmark.cuda.convolution import convolve
from benchmark.errors import BenchmarkError
from benchmark.sparse import backend
from benchmark.sparse.conformance import OPERATIONS, dense, example, far_apart, mismatch_reason, sparse
from benchmark.sparse.native import convolve as reference
from benchmark.sparse.pairs import CENTRE, Bags, Pairs

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
# (channels in, channels out): below, at and across the tiles' sizes
CHANNELS = [(1, 16), (20, 33), (64, 64)] + ([(64, 128), (300, 512), (512, 256)] if ON_GPU else [])
HALF = torch.bfloat16 if ON_GPU else torch.float16  # the interpreter does not multiply bfloat16
PRECISIONS = {"float32": 1e-5, "tf32": 1e-3, "half": 1e-2}


@pytest.fixture(scope="module")
def sites():
    return example(DEVICE, 4000, 24) if ON_GPU else example(DEVICE, 50, 5)


@pytest.mark.parametrize(
    "kind, theirs",
    [("neighbour_pairs", "neighbours"), ("parent_pairs", "children"), ("strided_pairs", "overlapping")],
)
def test_kernel_maps_hold_the_pairs_that_the_torch_code_finds(sites, kind, theirs):
    found, expected = getattr(kernel_maps, kind)(sites), getattr(sites, theirs)
    assert blocks(found) == blocks(expected)
    for pairs in (found, found.reversed):  # every row's bag holds the pairs that end there, by offset
        starts, members = pairs.into_target.starts.tolist(), pairs.into_target.members.tolist()
        assert len(starts) == pairs.n_target + 1 and sorted(members) == list(range(len(pairs.target)))
        target = pairs.target.tolist()
        bags = [members[a:b] for a, b in itertools.pairwise(starts)]
        assert all(bag == sorted(bag) and {target[p] for p in bag} <= {row} for row, bag in enumerate(bags))


def blocks(pairs):
    rows = torch.stack([pairs.source, pairs.target], dim=1).split(pairs.sizes)
    return {o: sorted(map(tuple, block.tolist())) for o, block in zip(pairs.offsets, rows, strict=True)}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_values_and_gradients_are_those_of_dense_convolution(sites, operation):
    for found, expected in zip(sparse(backend("triton"), operation, sites), dense(operation, sites), strict=True):
        assert relative(found, expected) < 1e-5


@pytest.mark.skipif(not ON_GPU, reason="the interpreter takes too long; runs on a GPU")
def test_the_backend_passes_the_suites_own_check():
    assert mismatch_reason(backend("triton"), DEVICE) is None


def test_events_far_apart_do_not_mix():
    sites = far_apart(DEVICE)
    ones = torch.ones(len(sites), 1, device=DEVICE), torch.ones(27, 1, 1, device=DEVICE)
    assert bool((backend("triton").submanifold(*ones, sites) == 1).all())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("n_in, n_out", CHANNELS)
def test_precisions(sites, n_in, n_out, precision, monkeypatch):
    if precision == "tf32":
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    dtype = HALF if precision == "half" else torch.float32
    if not ON_GPU and n_in == 64 and precision != "half":
        pytest.skip("the interpreter takes too long; runs on a GPU")
    for pairs, centre, offsets in (
        (sites.neighbours, CENTRE, 27),
        (sites.children, None, 8),
        (sites.children.reversed, None, 8),
    ):
        draw = torch.Generator().manual_seed(1)
        features = torch.randn(pairs.n_source, n_in, generator=draw)
        weight = torch.randn(offsets, n_in, n_out, generator=draw) / (n_in * 5) ** 0.5
        gradient = torch.randn(pairs.n_target, n_out, generator=draw)
        arrays = [t.to(DEVICE, dtype).float() for t in (features, weight, gradient)]  # what the type can hold
        found = passes(convolve, arrays, pairs, centre, dtype)
        expected = passes(reference, arrays, pairs, centre, torch.float64)
        for a, b in zip(found, expected, strict=True):
            assert relative(a, b) < PRECISIONS[precision]


def passes(function, arrays, pairs, centre, dtype):
    features, weight, gradient = (a.to(dtype) for a in arrays)
    if function is convolve:
        weight = arrays[1].clone()  # parameters stay float32
    features.requires_grad_()
    weight.requires_grad_()
    values = function(features, weight, pairs, centre)
    return (values.detach(), *torch.autograd.grad(values, (features, weight), gradient.to(values.dtype)))


def relative(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def test_the_weights_gradient_keeps_the_parameters_type_under_autocast(sites):
    features = torch.randn(len(sites), 16, device=DEVICE)
    weight = torch.randn(27, 16, 16, device=DEVICE, requires_grad=True)
    with torch.autocast(DEVICE.type, HALF):
        values = convolve(features, weight, sites.neighbours, CENTRE)
    assert values.dtype == HALF
    values.sum().backward()
    assert weight.grad.dtype == torch.float32


def test_two_runs_agree_to_the_bit(sites):
    draw = torch.Generator().manual_seed(2)
    features = torch.randn(len(sites), 16, generator=draw).to(DEVICE)
    weight = torch.randn(27, 16, 16, generator=draw).to(DEVICE)
    first, second = (passes(convolve, (features, weight, features), sites.neighbours, CENTRE, torch.float32)
                     for _ in range(2))  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_sites_without_neighbours_have_their_own_product_alone():
    none = torch.empty(0, dtype=torch.int32, device=DEVICE)
    bags = Bags(none, torch.zeros(4, dtype=torch.int32, device=DEVICE))
    features, weight = torch.randn(3, 16, device=DEVICE), torch.randn(27, 16, 16, device=DEVICE, requires_grad=True)
    values = convolve(features, weight, Pairs(none, none, [], [], bags, bags), CENTRE)
    torch.testing.assert_close(values.detach(), features @ weight.detach()[CENTRE], atol=1e-4, rtol=1e-4)
    (for_weight,) = torch.autograd.grad(values.sum(), weight)
    assert float(for_weight[:CENTRE].abs().max()) == 0 < float(for_weight[CENTRE].abs().max())


@pytest.mark.skipif(ON_GPU, reason="needs a machine without a GPU")
def test_a_cpu_is_refused_outside_the_interpreter(sites, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(BenchmarkError, match="A CUDA device was expected"):
        convolve(torch.zeros(len(sites), 4), torch.zeros(27, 4, 4), sites.neighbours, CENTRE)


def test_the_weights_gradient_is_the_same_from_many_pieces(sites, monkeypatch):
    """On small inputs an offset's pairs are one piece; here they are cut."""
    draw = torch.Generator().manual_seed(2)
    arrays = [
        torch.randn(*shape, generator=draw).to(DEVICE) for shape in ((len(sites), 4), (27, 4, 6), (len(sites), 6))
    ]
    expected = passes(reference, arrays, sites.neighbours, CENTRE, torch.float64)[2]
    monkeypatch.setattr(convolution, "n_programs", lambda device: 10_000)
    pairs = replace(sites.neighbours)  # nothing of it is cut yet
    found = passes(convolve, arrays, pairs, CENTRE, torch.float32)[2]
    assert any(kept[2] for key, kept in pairs._cut.items() if isinstance(key, tuple))
    assert relative(found, expected) < 1e-5
