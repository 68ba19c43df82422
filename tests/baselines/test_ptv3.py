"""Point Transformer V3: curves, patches, attention and pooling against plain references; published sizes; bad input."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import conv3d, cross_entropy

from benchmark.baselines._ptv3 import BatchNorm, PatchAttention, Stem
from benchmark.baselines._ptv3_levels import Level
from benchmark.baselines._ptv3_loss import lovasz_softmax
from benchmark.baselines._serialisation import ORDERS, codes, cut, hilbert, z_order
from benchmark.baselines.ptv3 import SPEC, PTv3Config
from benchmark.contracts import Inputs, PointBatch
from benchmark.datasets._pilarnet import FRAME
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.sparse import voxelise
from benchmark.tasks import TASKS

FOUR = TASKS["lartpc-segmentation"]


def batch_of(coords, offsets, seed=0, columns=1, target=None):
    coords = torch.as_tensor(coords, dtype=torch.float32)
    energy = torch.rand(len(coords), generator=torch.Generator().manual_seed(seed)) + 0.2
    feats = torch.stack([energy.log10() * (i + 1) for i in range(columns)], dim=1)
    return PointBatch(
        coords=coords, energy=energy, feats=feats, offsets=torch.as_tensor(offsets),
        event_ids=tuple(map(str, range(len(offsets) - 1))), columns=tuple(f"c{i}" for i in range(columns)),
        frame=FRAME, target=target,
    )  # fmt: skip


def events(*sizes, seed=0):
    """Events of about so many distinct voxels."""
    rng = np.random.default_rng(seed)
    parts = [np.unique(rng.integers(300, 300 + max(2, round((4 * n) ** (1 / 3))), (n, 3)), axis=0) for n in sizes]
    return batch_of(np.concatenate(parts), np.cumsum([0, *map(len, parts)]), seed)


def model(preset="tiny", columns=1, **changes):
    torch.manual_seed(0)
    config = resolve(Request("ptv3", preset=preset)).model_config
    inputs = Inputs(tuple(f"c{i}" for i in range(columns)), FRAME)
    return SPEC.build(dataclasses.replace(config, **changes), inputs, FOUR)


def level_of(batch, orders=ORDERS, n_levels=3, shuffled=False):
    sites, row = voxelise(batch.coords, batch.event_index, batch.n_events)
    return Level.finest(sites, orders, shuffled, n_levels), row


# curves -------------------------------------------------------------------------------------------------------------


def cube(edge):
    return torch.tensor(list(itertools.product(range(edge), repeat=3)))


def test_the_z_order_counts_a_cube_of_two_and_interleaves_bits():
    assert z_order(cube(2)).tolist() == list(range(8))
    assert z_order(torch.tensor([[0b101, 0b001, 0b010]])).tolist() == [0b100_001_110]
    assert z_order(torch.tensor([[2**21 - 1] * 3])).tolist() == [2**63 - 1]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ["hilbert", "hilbert-trans"])
def test_consecutive_hilbert_codes_are_voxels_that_share_a_face(bits, order):
    voxels = cube(2**bits)
    code = codes(voxels, order, bits)
    assert sorted(code.tolist()) == list(range(8**bits))
    steps = voxels[code.argsort()].diff(dim=0).abs().sum(1)
    assert (steps == 1).all()


def reference_hilbert(voxel, bits):
    """Skilling's loops as printed, for one voxel."""
    x = list(voxel)
    q = 1 << (bits - 1)
    while q > 1:
        for i in range(3):
            if x[i] & q:
                x[0] ^= q - 1
            else:
                t = (x[0] ^ x[i]) & (q - 1)
                x[0], x[i] = (x[0] ^ t, x[i] ^ t) if i else (x[0], x[i])
        q >>= 1
    x[1] ^= x[0]
    x[2] ^= x[1]
    t, q = 0, 1 << (bits - 1)
    while q > 1:
        t ^= q - 1 if x[2] & q else 0
        q >>= 1
    x = [v ^ t for v in x]
    return sum(((v >> b) & 1) << (3 * b + 2 - i) for b in range(bits) for i, v in enumerate(x))


@pytest.mark.parametrize("largest", [1, 3, 100, 700, 65535])
def test_hilbert_codes_equal_skillings_whatever_the_size_of_the_coordinates(largest):
    voxels = torch.randint(0, largest + 1, (60, 3), generator=torch.Generator().manual_seed(largest))
    voxels[0] = largest
    for bits in (16, 17, 18):
        assert hilbert(voxels, bits).tolist() == [reference_hilbert(v, bits) for v in voxels.tolist()]


@pytest.mark.parametrize("order", ORDERS)
def test_the_code_of_a_coarser_voxel_is_that_of_its_parts_without_three_bits(order):
    voxels = torch.randint(0, 2**12, (500, 3), generator=torch.Generator().manual_seed(1))
    assert torch.equal(codes(voxels, order, 16) >> 3, codes(voxels >> 1, order, 15))


def test_transposed_orders_exchange_the_first_two_axes():
    voxels = cube(4)
    for order in ("z", "hilbert"):
        assert torch.equal(codes(voxels, f"{order}-trans", 2), codes(voxels[:, [1, 0, 2]], order, 2))
        assert not torch.equal(codes(voxels, f"{order}-trans", 2), codes(voxels, order, 2))


# patches ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [[10], [3], [4], [8, 0, 1, 9, 4], [2, 3], [1], [12, 4]])
def test_patches_hold_consecutive_rows_of_one_event_and_every_row_finds_its_own(lengths):
    size = 4
    counts = torch.tensor(lengths)
    order = torch.cat([
        torch.randperm(n, generator=torch.Generator().manual_seed(e)) + sum(lengths[:e])
        for e, n in enumerate(lengths)
    ])  # fmt: skip
    patches = cut(order, counts, size)
    n = len(order)
    assert torch.equal(patches.rows[patches.slots], torch.arange(n))
    rank = torch.empty(n, dtype=torch.int64)
    rank[order] = torch.arange(n)
    event = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    whole = patches.rows[: patches.n_whole * size].view(-1, size)
    assert (rank[whole].diff(dim=1) == 1).all()
    assert (event[whole] == event[whole[:, :1]]).all()
    assert patches.n_whole == sum(-(-m // size) for m in lengths if m >= size)
    short = [m for m in lengths if 0 < m < size]
    if short:
        table = patches.rows[patches.n_whole * size :].view(len(short), max(short))
        assert patches.present.sum(1).tolist() == short
        assert (event[table] == event[table[:, :1]]).all()
    else:
        assert patches.present is None and len(patches.rows) == patches.n_whole * size


def test_attention_inside_patches_equals_dense_masked_attention():
    batch = events(45, 7, 90, 16, 1)
    level, _ = level_of(batch)
    size, n, n_heads = 16, len(level.sites), 2
    torch.manual_seed(3)
    attention, x = PatchAttention(8, n_heads), torch.randn(n, 8)
    patches = level.patches(2, size)
    event = level.sites.coords[:, 0]
    code = codes(level.relative, ORDERS[2])
    allowed = torch.zeros(n, n, dtype=torch.bool)
    for e in range(batch.n_events):
        row = sorted((event == e).nonzero().flatten().tolist(), key=lambda i: int(code[i]))
        for first in range(0, len(row), size):
            keys = row[max(0, min(first, len(row) - size)) :][:size]
            for i in row[first : first + size]:
                allowed[i, keys] = True
    query, key, value = attention.qkv(x).view(n, 3, n_heads, 4).unbind(1)
    weights = torch.einsum("qhd,khd->hqk", query, key) / 2
    weights = weights.masked_fill(~allowed, -torch.inf).softmax(2)
    expected = attention.project(torch.einsum("hqk,khd->qhd", weights, value).flatten(1))
    torch.testing.assert_close(attention(x, patches), expected, atol=1e-5, rtol=1e-5)


def test_orders_alternate_and_are_shuffled_in_training_by_torchs_generator():
    batch = events(40)
    level, _ = level_of(batch)
    assert level.orders == list(ORDERS) and level.coarser.orders == list(ORDERS)
    torch.manual_seed(1)
    first = [level_of(batch, shuffled=True)[0].orders for _ in range(8)]
    torch.manual_seed(1)
    again = [level_of(batch, shuffled=True)[0].orders for _ in range(8)]
    assert first == again
    assert len(set(map(tuple, first))) > 1
    assert not torch.equal(level.patches(0, 8).rows, level.patches(1, 8).rows)
    assert level.patches(0, 8) is level.patches(4, 8)


# levels -------------------------------------------------------------------------------------------------------------


def test_pooling_takes_the_maximum_over_the_voxels_of_a_parent():
    level, _ = level_of(events(60, 5))
    x = torch.randn(len(level.sites), 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    pooled = level.max_pool(x)
    coarse = level.coarser.sites.coords
    for row, voxel in enumerate(coarse):
        inside = (level.sites.coords[:, 0] == voxel[0]) & (level.sites.coords[:, 1:] >> 1 == voxel[1:]).all(1)
        torch.testing.assert_close(pooled[row], x[inside].amax(0))
        assert (level.parent[inside] == row).all()
    pooled.sum().backward()
    assert torch.equal(x.grad.sum(0), torch.full((3,), float(len(coarse))))


def test_later_stages_lie_in_the_corner_that_the_first_one_counts_from():
    level, _ = level_of(events(60, 5), n_levels=3)
    for finer in (level, level.coarser):
        assert torch.equal(finer.coarser.relative[finer.parent], finer.relative >> 1)
    assert int(level.coarser.coarser.relative.min()) >= 0


@pytest.mark.parametrize("kernel", [3, 5])
def test_the_first_convolution_equals_a_dense_one(kernel):
    rng = np.random.default_rng(0)
    coords = np.concatenate([np.unique(rng.integers(0, 6, (90, 3)), axis=0), [[0, 0, 0]], [[5, 5, 5], [0, 0, 0]]])
    batch = batch_of(coords, [0, len(coords) - 3, len(coords) - 2, len(coords)])
    level, _ = level_of(batch)
    x = torch.randn(len(level.sites), 2, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    stem = Stem(2, 3, kernel, "layer")
    grid = torch.zeros(3, 2, 6, 6, 6)
    where = level.sites.coords.unbind(1)
    grid[where[0], :, where[1], where[2], where[3]] = x
    weight = stem.linear.weight.view(3, kernel, kernel, kernel, 2).permute(0, 4, 1, 2, 3)
    dense = conv3d(grid, weight, padding=kernel // 2)[where[0], :, where[1], where[2], where[3]]
    expected = torch.nn.functional.gelu(stem.norm(dense))
    torch.testing.assert_close(stem(x, level), expected, atol=1e-5, rtol=1e-5)


# the model ----------------------------------------------------------------------------------------------------------


def size_of(preset, columns):
    """Parameters of a preset's parts, without making its weights."""
    with torch.device("meta"):
        network = model(preset, columns).network
    return {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}


def expected_sizes(enc_depths, enc, dec_depths, dec, stem):
    """The same, from the layers that the authors' code has; batch and layer norms have two numbers per channel."""

    def blocks(depths, channels):  # convolution 27 C^2 + C, linear C^2 + C, attention 4 C^2 + 4 C, perceptron, 3 norms
        return sum(n * (40 * c * c + 17 * c) for n, c in zip(depths, channels, strict=True))

    below = (*dec[1:], enc[-1])
    return {
        "stem": stem + 2 * enc[0],
        "encoder": blocks(enc_depths, enc),
        "down": sum((a + 3) * b for a, b in itertools.pairwise(enc)),
        "up": sum((a + s + 6) * b for a, s, b in zip(below, enc[:-1], dec, strict=True)),
        "decoder": blocks(dec_depths, dec),
    }


def test_the_paper_preset_has_the_published_size_and_recipe():
    found = size_of("paper", columns=6)  # ScanNet's colours and normals
    wanted = expected_sizes((2, 2, 2, 6, 2), (32, 64, 128, 256, 512), (2,) * 4, (64, 64, 128, 256), 125 * 6 * 32)
    assert found == wanted
    assert round(sum(found.values()) / 1e6, 1) == 46.2  # as published
    config = resolve(Request("ptv3", preset="paper"))
    assert (config.optim.weight_decay, config.optim.warmup_fraction, config.train.batch_size) == (0.05, 0.05, 12)
    assert (config.model_config.patch, config.model_config.drop_path) == (1024, 0.3)


def test_the_panda_preset_has_the_published_size():
    found = size_of("panda", columns=1)
    wanted = expected_sizes((3, 3, 3, 9, 3), (48, 96, 192, 384, 512), (2,) * 4, (64, 96, 192, 384), 5 * 48)
    assert found == wanted
    encoder = sum(found[name] for name in ("stem", "encoder", "down"))
    assert round(encoder / 1e6, 1) == 90.7  # published: 90.8, with what its pre-training needs
    assert round(sum(found.values()) / 1e6) == 107


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_an_events_scores_depend_on_that_event_alone(norm):
    batch = events(70, 3, 200, 1)
    net = model(norm=norm)
    net.train()(batch)
    together = net.eval()(batch)
    edges = batch.offsets.tolist()
    for first, last in itertools.pairwise(edges):
        alone = dataclasses.replace(
            batch, coords=batch.coords[first:last], energy=batch.energy[first:last], feats=batch.feats[first:last],
            offsets=torch.tensor([0, last - first]), event_ids=("one",),
        )  # fmt: skip
        torch.testing.assert_close(net(alone), together[first:last], atol=1e-5, rtol=1e-5)


def test_scores_do_not_change_with_a_shift_by_whole_voxels_of_the_last_stage():
    batch = events(80)
    net = model().eval()
    torch.testing.assert_close(net(batch.with_coords(batch.coords - 400.0)), net(batch), atol=1e-5, rtol=1e-5)


def test_points_of_one_voxel_share_their_mean_feature_and_their_scores():
    batch = batch_of([[5.1, 5.2, 5.3], [4.9, 5.0, 5.4], [6, 6, 6]], [0, 3])
    merged = batch_of([[5, 5, 5], [6, 6, 6]], [0, 2])
    merged = dataclasses.replace(merged, feats=torch.stack([batch.feats[:2].mean(0), batch.feats[2]]))
    net = model().eval()
    scores = net(batch)
    torch.testing.assert_close(scores[0], scores[1])
    torch.testing.assert_close(scores[1:], net(merged))


def test_the_constant_input_keeps_the_size_of_an_energy_that_a_layer_norm_would_hide():
    low = batch_of([[5, 5, 5]], [0, 1])
    low = dataclasses.replace(low, feats=torch.full((1, 1), 0.2))
    high = dataclasses.replace(low, feats=torch.full((1, 1), 0.9))
    given, hidden = (model(occupancy=occupancy, norm="layer").eval() for occupancy in (True, False))
    assert not torch.allclose(given(low), given(high), atol=1e-2)
    torch.testing.assert_close(hidden(low), hidden(high), atol=1e-2, rtol=1e-2)


def test_larger_voxels_merge_points():
    batch = batch_of([[4, 5, 5], [5, 4, 3], [9, 9, 9]], [0, 3])
    scores = model(grid=4.0).eval()(batch)
    torch.testing.assert_close(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2])


def test_rotated_events_are_scored():
    batch = events(120, 30)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    turned = batch.with_coords((batch.coords - 384) @ turn.T - 20.5)
    assert torch.isfinite(model().eval()(turned)).all()


def test_stages_before_the_first_with_attention_have_none():
    net = model(enc_depths=(1, 1, 1), attention_from=1).network
    assert [[b.attention is not None for b in stage] for stage in net.encoder] == [[False], [True], [True]]


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_a_batch_of_one_voxel_is_trained_on(norm):
    batch = batch_of([[5, 5, 5]], [0, 1], target=torch.tensor([2]))
    net = model(norm=norm, lovasz=1.0).train()
    loss = net.finetune_loss(batch)[0]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(m.num_batches_tracked == 0 for m in net.modules() if isinstance(m, BatchNorm))


def test_training_draws_from_torchs_generator_and_evaluation_draws_nothing():
    batch = events(150, 60)
    net = model(drop_path=0.5, enc_depths=(1, 1, 2)).train()
    scores = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        scores.append(net(batch))
    assert torch.equal(scores[0], scores[1]) and not torch.allclose(scores[0], scores[2])
    net.eval()
    state = torch.get_rng_state()
    assert torch.equal(net(batch), net(batch))
    assert torch.equal(torch.get_rng_state(), state)


def test_stochastic_depth_rises_over_the_encoder_and_falls_inside_a_decoders_stage():
    with torch.device("meta"):
        net = model("paper", columns=6).network
    encoder = [b.drop_path for stage in net.encoder for b in stage]
    np.testing.assert_allclose(encoder, np.linspace(0, 0.3, 14), atol=1e-6)
    decoder = [b.drop_path for stage in net.decoder for b in stage]
    np.testing.assert_allclose(decoder, np.linspace(0, 0.3, 8).reshape(4, 2)[:, ::-1].ravel(), atol=1e-6)


def test_a_step_in_half_precision_has_finite_gradients():
    batch = events(150, 60)
    batch = dataclasses.replace(batch, target=torch.zeros(batch.n_points, dtype=torch.int64))
    net = model(lovasz=0.5).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = net.finetune_loss(batch)[0]
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_the_record_names_the_backend_that_auto_took():
    assert model().backends == {"sparse convolution": "native"}


# loss ---------------------------------------------------------------------------------------------------------------


def test_the_lovasz_loss_is_the_mean_over_the_classes_present_of_points_to_count():
    g = torch.Generator().manual_seed(1)
    scores = torch.randn(50, 5, generator=g, requires_grad=True)
    target = torch.randint(-1, 3, (50,), generator=g)  # classes 3 and 4 are absent, -1 is ignored
    kept, of_class = target >= 0, []
    for c in range(3):
        own = (target[kept] == c).float()
        errors, order = (own - scores[kept].softmax(1)[:, c]).abs().sort(descending=True)
        hits, misses = own[order].cumsum(0), (1 - own[order]).cumsum(0)
        losses = 1 - (own.sum() - hits) / (own.sum() + misses)
        of_class.append(errors @ torch.diff(losses, prepend=losses.new_zeros(1)))
    expected, found = torch.stack(of_class).mean(), lovasz_softmax(scores, target, -1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, scores)[0] for loss in (found, expected)))


def test_the_lovasz_loss_of_certain_predictions_is_one_minus_the_mean_iou():
    rng = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (50,), generator=rng)
    predicted = torch.randint(0, 4, (50,), generator=rng)
    scores = 100 * torch.eye(4)[predicted]
    target[:5] = -1
    of_class = []
    for c in range(3):
        true, found = target[5:] == c, predicted[5:] == c
        of_class.append(1 - (true & found).sum() / (true | found).sum())
    torch.testing.assert_close(lovasz_softmax(scores, target, -1), torch.stack(of_class).mean())


def test_losses_are_added():
    batch = dataclasses.replace(events(30), target=None)
    target = torch.randint(0, 4, (batch.n_points,), generator=torch.Generator().manual_seed(0))
    batch = dataclasses.replace(batch, target=target)
    net = model(loss="unweighted", lovasz=0.5)
    scores = net(batch)
    expected = cross_entropy(scores, target) + 0.5 * lovasz_softmax(scores, target, -1)
    torch.testing.assert_close(net.loss(batch, scores), expected)
    unlabelled = dataclasses.replace(batch, target=torch.full_like(target, -1))
    assert lovasz_softmax(scores, unlabelled.target, -1) == 0


# bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"enc_depths": (1, 1)}, r"enc_depths=\(1, 1\) has 2 numbers. 5 were expected"),
        ({"dec_channels": (8,)}, r"dec_channels=\(8,\) has 1 numbers. 4 were expected.* but the last"),
        ({"enc_channels": ()}, "0 numbers|were expected"),
        ({"dec_depths": (0, 0, 0, -1)}, r"Numbers from 0 on"),
        ({"enc_heads": (5, 1, 1, 1, 1)}, "do not share out"),
        ({"patch": 0}, "patch=0 is not possible"),
        ({"stem_kernel": 4}, "odd number"),
        ({"grid": 0.0}, "More than 0"),
        ({"grid": float("nan")}, "More than 0"),
        ({"lovasz": -1.0}, "0 or more"),
        ({"drop_path": 1.0}, "rate from 0"),
        ({"orders": ("z", "spiral")}, "Some of z, z-trans, hilbert, hilbert-trans"),
        ({"orders": ()}, "Some of z"),
        ({"norm": "group"}, "One of layer, batch"),
        ({"backend": "cudnn"}, "One of auto, native"),
    ],
)
def test_a_configuration_that_is_not_possible_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PTv3Config(**changes)


def test_the_command_line_is_told_in_one_sentence():
    with pytest.raises(ConfigError, match="stem_kernel=2 is not possible"):
        resolve(Request("ptv3", assignments=("stem_kernel=2",)))


def test_an_event_too_large_for_the_codes_is_refused():
    batch = batch_of([[0, 0, 0], [70_000, 0, 0]], [0, 2])
    with pytest.raises(BenchmarkError, match=r"up to 70001 voxels a side.*--set grid"):
        model().eval()(batch)
    assert torch.isfinite(model(grid=2.0).eval()(batch)).all()


def test_coordinates_that_no_voxel_has_are_refused_in_one_sentence():
    with pytest.raises(BenchmarkError, match=r"voxel coordinate is .* 32 bits"):
        model().eval()(batch_of([[5, 5, float("nan")]], [0, 1]))


def test_running_statistics_follow_within_some_hundred_steps_by_default_and_slowly_as_published():
    config = resolve(Request("ptv3", preset="paper", dataset="pilarnet-m")).model_config
    assert config.norm_momentum == 0.01
    norms = [m for m in model(norm_momentum=0.25).modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norms
    assert all(m.momentum == 0.25 for m in norms)
