"""Tiles of sparse convolution: kept and read as written, refused where impossible, and chosen by trial."""

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")

from triton.errors import TritonError

from benchmark import tasks
from benchmark.baselines import sparse_uresnet
from benchmark.cuda import tuning
from benchmark.cuda.convolution import convolve
from benchmark.cuda.tiles import by_rule, tile
from benchmark.errors import ConfigError, DataError
from benchmark.hardware import tiles
from benchmark.hardware.tiles import Tile, Use, tuned
from benchmark.perf.steps import build_model
from benchmark.perf.tiles import tune_tiles
from benchmark.sparse import backend
from benchmark.sparse.conformance import example
from benchmark.sparse.pairs import CENTRE
from benchmark.sparse.triton import hearing, tune
from builders.batches import make_batch

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


@pytest.fixture
def table():
    """This process's table of the device, empty before and after."""
    found = tuned(DEVICE)
    kept = dict(found)
    found.clear()
    yield found
    found.clear()
    found.update(kept)


@pytest.fixture(scope="module")
def sites():
    return example(DEVICE, 20, 4)


def test_tiles_are_read_as_they_were_written(tmp_path):
    chosen = {
        Use("products", 64, 128, torch.bfloat16): Tile(64, 128, 32, 4, 4),
        Use("weights", 1, 16, torch.float32): Tile(16, 16, 64, 2, 1),
    }
    tiles.write(tmp_path / "a" / "card.json", chosen)
    assert tiles.read(tmp_path / "a" / "card.json") == chosen


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"products 64 128": [64, 64, 16, 4, 3]}',
        '{"others 64 128 bfloat16": [64, 64, 16, 4, 3]}',
        '{"products 64 128 int8": [64, 64, 16, 4, 3]}',
        '{"products 64 128 bfloat16": [64, 64, 16, 4]}',
        '{"products 64 128 bfloat16": [60, 64, 16, 4, 3]}',
        '{"products 64 128 bfloat16": [64, 64, 16, 3, 3]}',
        '{"products 64 128 bfloat16": [64, 64, 16, 4, 0]}',
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, text):
    file = tmp_path / "card.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"card\.json holds no sizes of tiles .* was expected\. Delete the file"):
        tiles.read(file)


def test_a_cards_file_is_read_and_its_hash_goes_into_records(tmp_path, monkeypatch):
    file = tmp_path / "card.json"
    use, chosen = Use("products", 8, 24, torch.float16), Tile(32, 32, 16, 2, 2)
    monkeypatch.setattr(tiles, "file_of", lambda device: file)
    elsewhere = torch.device("cuda", 7)  # no other test asks for this one
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *device: "a card")
    monkeypatch.setattr(tiles, "missing", lambda: None)
    assert tiles.recorded_tiles("cuda") == {}
    tiles.write(file, {use: chosen})
    assert tile(*use, elsewhere) == chosen
    assert tile("totals", 8, 24, torch.float16, elsewhere) == by_rule(use._replace(kernel="totals"))
    assert tiles.recorded_tiles("cuda") == {"tiles": tiles.hash_of(elsewhere)}
    assert tiles.recorded_tiles("cpu") == {}
    monkeypatch.setattr(tiles, "missing", lambda: "the package triton is missing")
    assert tiles.recorded_tiles("cuda") == {}


def test_without_a_file_the_rule_holds():
    assert tiles.hash_of(torch.device("cpu")) is None
    use = Use("weights", 300, 5, torch.float32)
    assert tile(*use, torch.device("cpu")) == by_rule(use)


def test_neighbours_are_possible_and_no_larger_than_the_channels():
    for kernel in tiles.KERNELS:
        use = Use(kernel, 20, 33, torch.bfloat16)
        for other in tuning.neighbours(use, by_rule(use)):
            assert tiles.possible(other) and other.columns <= 64
            assert sum(a != b for a, b in zip(other, by_rule(use), strict=True)) == 1


def test_the_largest_convolution_of_each_kind_is_heard(sites):
    engine = backend("triton")
    weight, small = torch.ones(27, 2, 3, device=DEVICE), example(DEVICE, 10, 3)
    with hearing() as work:
        for on in (small, sites, small):
            engine.submanifold(torch.ones(len(on), 2, device=DEVICE), weight, on)
        engine.strided(torch.ones(len(sites), 2, device=DEVICE), torch.ones(8, 2, 3, device=DEVICE), sites)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            try:
                engine.inverse(
                    torch.ones(len(sites.coarser), 2, device=DEVICE), torch.ones(8, 2, 3, device=DEVICE), sites
                )
            except Exception:  # the interpreter does not multiply bfloat16
                assert DEVICE.type == "cpu"
    assert set(work) == {(2, 3, False, torch.float32), (2, 3, True, torch.float32), (2, 3, True, torch.bfloat16)}
    assert len(work[2, 3, False, torch.float32][0]) == len(sites)
    engine.submanifold(torch.ones(len(sites), 2, device=DEVICE), weight, sites)  # outside nobody listens
    assert len(work) == 3


def test_the_fastest_tile_is_found_step_by_step_and_computes_the_same(sites, table, monkeypatch):
    """The clock wants few rows and steps in flight; two warps do not fit."""
    features = torch.randn(len(sites), 4, device=DEVICE)
    weight = torch.randn(27, 4, 6, device=DEVICE)
    expected = convolve(features, weight, sites.neighbours, CENTRE)
    use = Use("products", 4, 6, torch.float32)
    real = tuning.sum_products

    def sum_products(*arguments):
        if table.get(use, by_rule(use)).warps == 2:
            raise TritonError("out of registers")
        return real(*arguments)

    def clock(job):
        job()
        t = table.get(use, by_rule(use))
        return 1.0 + t.rows / 64 + t.stages + t.warps / 64

    monkeypatch.setattr(tuning, "sum_products", sum_products)
    found = tune([(features, weight, sites.neighbours, CENTRE)], clock, lambda text: None)
    assert found[use] == by_rule(use)._replace(rows=16, stages=1)
    assert found[Use("weights", 4, 6, torch.float32)] == by_rule(Use("weights", 4, 6, torch.float32))
    assert set(found) == {
        Use(kernel, *channels, torch.float32)
        for kernel, channels in (
            ("products", (4, 6)), ("totals", (4, 6)), ("products", (6, 4)), ("totals", (6, 4)), ("weights", (4, 6)),
        )
    }  # fmt: skip
    torch.testing.assert_close(convolve(features, weight, sites.neighbours, CENTRE), expected)


def test_a_tile_that_computes_something_else_is_passed_over(sites, table, monkeypatch):
    features, weight = torch.randn(len(sites), 4, device=DEVICE), torch.randn(27, 4, 6, device=DEVICE)
    use = Use("products", 4, 6, torch.float32)
    real = tuning.sum_products
    monkeypatch.setattr(tuning, "sum_products", lambda *a: real(*a) * (2 if table[use].rows < 64 else 1))
    found = tune(
        [(features, weight, sites.neighbours, CENTRE)], lambda job: 1.0 + table[use].rows / 64, lambda text: None
    )
    assert found[use].rows == 64


def test_a_card_has_a_file_of_its_own(monkeypatch, particlebench_cache):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    file = tiles.file_of(torch.device("cuda", 0))
    assert file.parent == particlebench_cache / "tiles"
    assert file.name.startswith("nvidia-h100-80gb-hbm3-triton-")


def test_all_convolutions_of_a_models_step_are_tuned(table, monkeypatch):
    batch = make_batch(tasks.task("lartpc-segmentation"), (12, 9))
    monkeypatch.setattr(sparse_uresnet, "choose", lambda name, device: backend("triton"))
    monkeypatch.setattr(tuning, "neighbours", lambda use, sizes: ())
    told = []
    chosen = tune_tiles([], (), batch, ["sparse_uresnet"], "tiny", DEVICE, lambda job: 1.0, told.append)
    network = build_model("sparse_uresnet", "tiny", batch).network
    widths = {(*m.kernel.shape[1:], len(m.kernel) == 27) for m in network.modules() if hasattr(m, "kernel")}
    for n_in, n_out, centre in widths:
        for kernel in ("products", "totals" if centre else "sums"):
            assert any(u[:3] == (kernel, n_in, n_out) for u in chosen) and any(
                u[:3] == (kernel, n_out, n_in) for u in chosen
            )
        assert any(u[:3] == ("weights", n_in, n_out) for u in chosen)
    assert len(told) == len(chosen)


def test_models_without_sparse_convolutions_have_no_tiles():
    batch = make_batch(tasks.task("lartpc-segmentation"), (12, 9))
    with pytest.raises(ConfigError, match="None of the models pointnet has a sparse convolution"):
        tune_tiles([], (), batch, ["pointnet"], "tiny", DEVICE, lambda job: 1.0)
