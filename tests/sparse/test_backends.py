"""Sparse convolution: equal to dense convolution on the active voxels, at any thread count, twice; and bad input."""

from itertools import product

import pytest
import torch

from benchmark.errors import BenchmarkError, DataError, UnknownNameError
from benchmark.sparse import BACKENDS, Sites, SparseTensor, backend, choose, layers, voxelise
from benchmark.sparse.backends import unusable
from benchmark.sparse.conformance import (
    AXIS_SIZE,
    OPERATIONS,
    TOLERANCE,
    arguments,
    dense,
    example,
    mismatch_reason,
    sparse,
)
from benchmark.sparse.native import Native
from benchmark.sparse.public_benchmark import SIZES, VOXELS, PublicNetwork, one_pass, workload

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def sites_of(*voxels):
    return Sites.of(torch.tensor(voxels))[0]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_values_and_gradients_equal_dense_convolution_and_are_the_same_twice(operation, threads):
    sites = example(CPU, n_voxels=700, size=14)
    expected = dense(operation, sites)
    first, again = (sparse(backend("native"), operation, sites) for _ in range(2))
    for a, b, c in zip(first, again, expected, strict=True):
        assert (a - c).abs().max() <= TOLERANCE * c.abs().max()
        assert torch.equal(a, b)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_are_those_of_finite_differences(operation):
    sites = example(CPU, n_voxels=12, size=4)
    features, weight, _ = (t.double().requires_grad_() for t in arguments(operation, sites))
    convolve = getattr(backend("native"), operation.rstrip("3"))
    assert torch.autograd.gradcheck(lambda x, w: convolve(x, w, sites), (features, weight))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_present_conforms(name, device):
    reason = backend(name).available()
    if reason is not None:
        pytest.skip(f"{name}: {reason}")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    if name in ("spconv", "triton") and device == "cpu":
        with pytest.raises(BenchmarkError, match=f"{name} cannot be used on this cpu device"):
            choose(name, device)
        return
    assert mismatch_reason(backend(name), torch.device(device)) is None


@pytest.mark.parametrize("inside", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_a_backend_is_judged_alike_whatever_the_code_that_asks_runs_in(inside):
    with inside():
        assert mismatch_reason(Native(), torch.device("cpu")) is None


class Racing(Native):
    """A backend that is wrong with two threads, as spconv's CPU code is."""

    name = "racing"

    def submanifold(self, features, weight, sites):
        result = super().submanifold(features, weight, sites)
        return result if torch.get_num_threads() == 1 else result * 1.01


class Aliasing(Native):
    """A backend whose keys have 32 bits."""

    name = "aliasing"

    def submanifold(self, features, weight, sites):
        event, x, y, z = sites.coords.unbind(1)
        key = (((event * AXIS_SIZE + x) * AXIS_SIZE + y) * AXIS_SIZE + z) & 0xFFFFFFFF
        near = (key[:, None] - key).abs() == 1
        together = near & (event[:, None] != event)
        return super().submanifold(features, weight, sites) + together.sum(1, keepdim=True)


class Failing(Native):
    """A backend without gradient."""

    name = "failing"

    def strided(self, features, weight, sites):
        raise AssertionError("Torch not compiled with CUDA enabled")


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (Racing(), r"values of its submanifold convolution with 2 threads are off by 1\.0e-02"),
        (Aliasing(), r"takes voxels of different events for neighbours"),
        (Failing(), r"fails with AssertionError: Torch not compiled with CUDA enabled"),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_a_backend_that_computes_wrong_results_is_refused_with_the_reason(candidate, reason, monkeypatch):
    monkeypatch.setattr("benchmark.sparse.backends.backend", lambda name: candidate)
    unusable.cache_clear()
    with pytest.raises(BenchmarkError, match=reason):
        choose("spconv", "cpu")
    unusable.cache_clear()


def test_auto_is_native_on_cpus_and_unknown_names_are_refused():
    assert choose("auto", "cpu").name == "native"
    with pytest.raises(UnknownNameError, match="spconv"):
        choose("spcnv", "cpu")


def test_a_missing_package_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr("benchmark.packages.find_spec", lambda name: None)
    unusable.cache_clear()
    with pytest.raises(BenchmarkError, match="spconv cannot be used on this cpu device: the package spconv is missing"):
        choose("spconv", "cpu")
    unusable.cache_clear()


def test_neighbours_are_those_of_a_search_over_all_pairs():
    sites = example(CPU, n_voxels=60, size=5)
    pairs = sites.neighbours
    found = set()
    for source, target, offset in zip(
        pairs.source.split(pairs.sizes), pairs.target.split(pairs.sizes), pairs.offsets, strict=True
    ):
        found |= {(i, j, offset) for i, j in zip(target.tolist(), source.tolist(), strict=True)}
    coords = sites.coords.tolist()
    expected = set()
    for (i, a), (j, b) in product(enumerate(coords), repeat=2):
        d = [q - p for p, q in zip(a[1:], b[1:], strict=True)]
        if a[0] == b[0] and i != j and max(map(abs, d)) <= 1:
            expected.add((i, j, (d[0] + 1) + 3 * (d[1] + 1) + 9 * (d[2] + 1)))
    assert found == expected
    assert len(found) == len(pairs.source)


def test_voxels_of_different_events_are_never_neighbours_however_far_they_reach():
    assert (
        len(sites_of([0, AXIS_SIZE - 1, AXIS_SIZE - 1, AXIS_SIZE - 1], [9, 0, 0, 0], [1, 0, 0, 0]).neighbours.source)
        == 0
    )
    edge = 2**15  # 20 events of boxes of 2^48 voxels
    corners = [[e, *(c,) * 3] for e in range(20) for c in (-edge, edge - 1)]
    sites = sites_of(*corners)
    assert len(sites.neighbours.source) == 0
    assert sites.coords.tolist() == corners


def test_the_lattice_of_coarser_voxels_is_the_detectors_not_the_events():
    coarse = sites_of([0, -1, 0, 1], [0, 0, 0, 1], [0, 1, 1, 1]).coarser
    assert coarse.coords.tolist() == [[0, -1, 0, 0], [0, 0, 0, 0]]
    assert coarse.stride == 2


def test_levels_and_pairs_are_made_once_and_shared():
    sites = example(CPU, n_voxels=50, size=5)
    assert sites.coarser is sites.coarser
    assert sites.neighbours is sites.neighbours
    assert sites.children.reversed.source is sites.children.target


def test_sites_keep_where_each_given_voxel_went():
    given = torch.tensor([[1, 5, 5, 5], [0, 9, 9, 9], [0, 2, 2, 2]])
    sites, row = Sites.of(given)
    assert torch.equal(sites.coords[row], given)
    assert row.tolist() == [2, 1, 0]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_event_with_one_voxel_is_convolved(operation):
    sites = sites_of([0, 7, 7, 7])
    for a, b in zip(sparse(backend("native"), operation, sites), dense(operation, sites), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        ([[0, 1, 2, 3], [1, 1, 2, 3], [0, 1, 2, 3]], r"not unique \(first: event 0 at \[1, 2, 3\]\)"),
        ([[0, 1, 2, 2**31]], r"A voxel coordinate is 2147483648\. Finite numbers that fit 32 bits"),
        ([[0, 0, 0, 0], [0, 2**30, 2**30, 2**30]], r"need keys of more than 64 bits"),
        ([[-1, 0, 0, 0]], r"Event numbers run from -1 to -1"),
    ],
)
def test_voxels_that_cannot_be_are_refused_in_one_sentence_each(voxels, message):
    with pytest.raises(DataError, match=message):
        Sites.of(torch.tensor(voxels))


def test_no_voxels_at_all_are_refused():
    with pytest.raises(DataError, match="There is no voxel"):
        Sites.of(torch.empty(0, 4, dtype=torch.int64))


def test_points_are_rounded_to_voxels_and_share_them():
    coords = torch.tensor([[1.2, 2.4, 2.6], [0.8, 2.0, 3.4], [1.0, 2.0, 3.0]])
    sites, row = voxelise(coords, torch.tensor([0, 0, 1]), 2)
    assert sites.coords.tolist() == [[0, 1, 2, 3], [1, 1, 2, 3]]
    assert row.tolist() == [0, 0, 1]
    with pytest.raises(DataError, match="voxel coordinate is nan"):
        voxelise(torch.tensor([[0.0, float("nan"), 0.0]]), torch.tensor([0]), 1)


def test_layers_go_down_and_back_to_the_same_sites():
    sites = example(CPU, n_voxels=50, size=6)
    x = SparseTensor(torch.randn(len(sites), 3), sites)
    down = layers.StridedConvolution(3, 4)(x, backend("native"))
    assert down.features.shape == (len(sites.coarser), 4) and down.stride == 2
    up = layers.InverseConvolution(4, 2)
    assert up(down, sites, backend("native")).features.shape == (len(sites), 2)
    with pytest.raises(ValueError, match="needs the sites"):
        up(down, sites.coarser, backend("native"))


def test_a_prediction_leaves_nothing_that_training_cannot_write_to():
    sites = example(CPU, n_voxels=50, size=6)
    with torch.inference_mode():
        sparse_values = backend("native").submanifold(torch.randn(len(sites), 64), torch.randn(27, 64, 64), sites)
    assert sparse_values.is_inference()
    assert all(torch.isfinite(t).all() for t in sparse(backend("native"), "submanifold", sites))


def test_half_precision_is_that_of_autocast():
    sites = example(CPU, n_voxels=200, size=8)
    features, weight, _ = arguments("submanifold", sites)
    exact = backend("native").submanifold(features, weight, sites)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = backend("native").submanifold(features, weight, sites)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.02 * exact.abs().max()


# the public benchmark ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_public_network_has_the_published_number_of_parameters(size):
    with torch.device("meta"):
        net = PublicNetwork(size)
    assert sum(p.numel() for p in net.parameters()) == SIZES[size].n_parameters


def test_the_public_network_is_that_of_dense_convolutions():
    torch.manual_seed(0)
    sites = example(CPU, n_voxels=60, size=8)
    net = PublicNetwork("small")
    x = SparseTensor(torch.randn(len(sites), 1), sites)
    out = net(x, backend("native"))
    assert out.sites is sites.coarser.coarser.coarser and out.features.shape == (len(out.sites), 128)
    torch.testing.assert_close(net(x, Dense()).features, out.features, atol=1e-4, rtol=1e-4)
    with pytest.raises(UnknownNameError, match="huge"):
        PublicNetwork("huge")


class Dense(Native):
    """Torch's dense convolutions, read at the active voxels."""

    name = "dense"

    def submanifold(self, features, weight, sites):
        return self.convolve(features, weight, sites, sites, 1)

    def strided(self, features, weight, sites):
        return self.convolve(features, weight, sites, sites.coarser, 2)

    def convolve(self, features, weight, start, end, stride):
        low = 2 * (start.coords[:, 1:].amin(0) // 2) - 2  # even, so that the halved grid starts at a voxel
        at = (start.coords[:, 0], *(start.coords[:, 1:] - low).unbind(1))
        grid = torch.zeros(start.n_events, *[int(a.amax()) + 4 for a in at[1:]], features.shape[1])
        grid = grid.index_put(at, features).permute(0, 4, 1, 2, 3)
        kernel = weight.view(3, 3, 3, *weight.shape[1:]).permute(4, 3, 2, 1, 0)
        out = torch.nn.functional.conv3d(grid, kernel, stride=stride, padding=1).permute(0, 2, 3, 4, 1)
        return out[(end.coords[:, 0], *(end.coords[:, 1:] - low // stride).unbind(1))]


def test_the_public_workloads_have_the_published_numbers_of_voxels():
    assert VOXELS == {1: 4690, 2: 7299, 4: 18984, 8: 30392, 16: 56700}
    rng = torch.Generator().manual_seed(2)
    sizes = (3000, 5000, 5200, 4000)
    events = [(torch.randperm(30**3, generator=rng)[:n], torch.rand(n, generator=rng)) for n in sizes]
    events = [(torch.stack([p // 900, p // 30 % 30, p % 30], dim=1).float(), e) for p, e in events]
    coords, energies = workload(events, 2)
    assert coords.shape == (7299, 4) and energies.shape == (7299, 1)
    assert torch.bincount(coords[:, 0]).tolist() == [3649, 3650]
    for number, (xyz, energy) in enumerate(events[1:3]):
        given = dict(zip(map(tuple, xyz.long().tolist()), energy.tolist(), strict=True))
        own = coords[:, 0] == number
        kept = zip(map(tuple, coords[own, 1:].tolist()), energies[own, 0].tolist(), strict=True)
        assert all(given[voxel] == e for voxel, e in kept)
    with pytest.raises(DataError, match=r"^2 events have 4746 voxels or more\. 4 were expected\. Give more events\.$"):
        workload(events, 4)
    with pytest.raises(DataError, match="no batch of 3 events"):
        workload(events, 3)


def test_one_pass_gives_the_loss_and_its_gradients():
    torch.manual_seed(0)
    net = PublicNetwork("small")
    coords = example(CPU, n_voxels=40, size=6).coords.flip(0)
    energies = torch.rand(len(coords), 1)
    loss = one_pass(net, backend("native"), coords, energies, backward=True)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    again = one_pass(net, backend("native"), coords.flip(0), energies.flip(0), backward=False)
    torch.testing.assert_close(loss, again)
