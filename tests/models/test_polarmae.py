"""PoLAr-MAE: shapes, masks, losses, invariances, transfer from pre-training, and parts with stored reference values."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.contracts import PointBatch, concatenate
from benchmark.contracts.losses import focal_loss
from benchmark.models._masked_autoencoder import MaskedAutoencoder
from benchmark.models._masking import chamfer_per_group, n_masked, random_mask, random_mask_at_once
from benchmark.models._point_embedding import MiniPointNet, RowBatchNorm, joined_linear, max_per_token
from benchmark.models._tokens import group_points, interpolate_points, inverse_weights
from benchmark.models._vit import Packing, attend, attend_padded
from benchmark.models.polarmae import SPEC, PolarMAEConfig
from benchmark.ops.grouping import GroupingConfig
from benchmark.settings import override
from benchmark.tasks import LARTPC_SEGMENTATION
from builders.token_events import INPUTS, event


def model(seed: int = 0, **changes) -> MaskedAutoencoder:
    torch.manual_seed(seed)
    config = override(PolarMAEConfig(), {**SPEC.presets["tiny"].model, **changes}, "model")
    return SPEC.build(config, INPUTS, LARTPC_SEGMENTATION)


def scores(net: MaskedAutoencoder, *events: PointBatch) -> list[np.ndarray]:
    batch = concatenate(events)
    return np.split(net.predict(batch), batch.offsets[1:-1])


@pytest.fixture(scope="module")
def batch() -> PointBatch:
    return concatenate([event(0), event(1, 90), event(2, 400)]).to_torch()


@pytest.fixture(scope="module")
def unit_cases(shared_dir):
    path = shared_dir / "reference" / "polarmae" / "golden" / "unit_cases.npz"
    if not path.is_file():
        pytest.skip(f"no golden unit cases at {path}")
    stored = np.load(path)
    return {name: torch.from_numpy(stored[name]) for name in stored.files}


VARIANTS = [{}, {"head": "linear"}, {"rotary_wave": 0.0, "point_features": False, "member_features": False}]


@pytest.mark.parametrize("changes", VARIANTS)
def test_every_point_gets_finite_scores(batch, changes):
    found = model(**changes).eval()(batch)
    assert found.shape == (batch.n_points, 4) and torch.isfinite(found).all()


@pytest.mark.parametrize("changes", VARIANTS)
def test_order_of_points_does_not_change_a_score(changes):
    net, one = model(**changes), event(3)
    shuffle = np.random.default_rng(0).permutation(one.n_points)
    moved = one.map_arrays(lambda a: a[shuffle] if len(a) == one.n_points else a)
    assert np.allclose(scores(net, moved)[0], scores(net, one)[0][shuffle], atol=2e-6)


@pytest.mark.parametrize("changes", VARIANTS)
def test_other_events_of_the_batch_do_not_change_a_score(changes):
    net = model(**changes)
    alone = scores(net, event(3))[0]
    for batch in ((event(3), event(4, 600)), (event(3), event(5, 40), event(6))):
        assert np.allclose(scores(net, *batch)[0], alone, atol=2e-6)


def test_points_in_one_voxel_and_tiny_events_are_scored():
    net, one = model(), event(7)
    doubled = concatenate([one, one])
    doubled = replace(doubled, offsets=np.array([0, doubled.n_points]), event_ids=("doubled",))
    assert np.isfinite(scores(net, doubled)[0]).all()
    for n_points in (3, 4):
        assert np.isfinite(scores(net, event(8, n_points), one)[0]).all()
        loss, _ = net.train().pretrain_loss(event(8, n_points).to_torch())
        assert torch.isfinite(loss)


def test_evaluation_is_deterministic_and_training_follows_its_seed(batch):
    net = model(drop_path=0.3, attention_dropout=0.1, head_dropout=0.5)
    assert np.array_equal(net.predict(batch), net.predict(batch))
    net.train()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(float(net.finetune_loss(batch)[0].detach()))
    assert losses[0] == losses[1] != losses[2]


def test_gradient_reaches_every_parameter(batch):
    net = model().train()
    unused = {id(p) for m in net.pretraining_only() for p in m.parameters()}
    loss = net.finetune_loss(batch)[0]
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == (id(parameter) in unused), name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name
    net.zero_grad()
    loss, parts = net.pretrain_loss(batch)
    loss.backward()
    assert set(parts) == {"chamfer", "energy"} and torch.isfinite(loss)
    for name, parameter in net.named_parameters():
        assert name.startswith("head.") or parameter.grad.abs().sum() > 0, name


def test_pretraining_loss_falls(batch):
    net = model().train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        torch.manual_seed(step)
        loss, _ = net.pretrain_loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_fine_tuning_learns_to_tell_tracks_from_a_cloud():
    net = model().train()
    batch = concatenate([event(seed) for seed in range(4)]).to_torch()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for step in range(40):
        torch.manual_seed(step)
        optimiser.zero_grad()
        net.finetune_loss(batch)[0].backward()
        optimiser.step()
    unseen = concatenate([event(seed) for seed in range(20, 24)])
    assert (net.predict(unseen).argmax(1) == unseen.target).mean() > 0.9


def test_pretrained_backbone_is_carried_into_fine_tuning(batch, tmp_path):
    pretrained, path = model(seed=1), tmp_path / "weights.safetensors"
    pretrained.save(path, {})
    for changes in ({}, {"head": "linear"}):
        net = model(seed=2, **changes)
        head = {k: v.clone() for k, v in net.head.state_dict().items()}
        net.load_backbone(path)
        tokens = net.tokens(batch)
        for mine, given in zip(net.eval().encode(tokens)[0], pretrained.eval().encode(tokens)[0], strict=True):
            assert torch.equal(mine, given)
        assert all(torch.equal(v, head[k]) for k, v in net.head.state_dict().items())


def test_hidden_tokens_do_not_reach_the_encoder(batch):
    net = model().eval()
    tokens = net.tokens(batch)
    hidden = random_mask(tokens.lengths, 0.6, torch.device("cpu"))
    visible, _ = tokens.split(hidden)
    changed = replace(tokens, inputs=torch.where(hidden[tokens.token, None], tokens.inputs + 1, tokens.inputs))
    assert torch.equal(net.encode(visible)[0][-1], net.encode(changed.split(hidden)[0])[0][-1])
    assert visible.lengths == tuple(n - n_masked(n, 0.6) for n in tokens.lengths)
    assert torch.equal(torch.bincount(visible.token, minlength=len(visible)), visible.sizes)


def test_more_tokens_than_allowed_are_thinned_within_the_order_of_the_event(batch):
    few = group_points(batch, ("log_energy",), GroupingConfig(max_groups=5, overflow="spread"))
    assert few.lengths == (5, 5, 5) and len(few) == 15


def test_event_with_fewer_tokens_than_neighbours_uses_those_it_has():
    small = event(9, 6).to_torch()
    tokens = group_points(small, (), GroupingConfig())
    to_points = interpolate_points(small, tokens, 16)
    assert (to_points.tokens < len(tokens)).all()
    assert torch.allclose(to_points.weights.sum(1), torch.ones(small.n_points))
    assert (to_points.weights[:, len(tokens) :] == 0).all()


def test_attention_padded_equals_attention_event_by_event():
    torch.manual_seed(0)
    lengths = (5, 1, 9, 8)
    query, key, value = torch.randn(3, sum(lengths), 2, 8)
    packing = Packing.of(lengths, torch.repeat_interleave(torch.arange(4), torch.tensor(lengths)))
    expected = attend(query, key, value, packing, 0.0)
    assert torch.allclose(attend_padded(query, key, value, lengths, 0.0), expected, atol=1e-6)


def test_joined_linear_equals_concatenation():
    torch.manual_seed(0)
    layer, shared, owner, rows = (
        torch.nn.Linear(10, 3),
        torch.randn(4, 6),
        torch.tensor([0, 0, 2, 3, 3]),
        torch.randn(5, 4),
    )
    assert torch.allclose(
        joined_linear(layer, shared, owner, rows), layer(torch.cat([shared[owner], rows], 1)), atol=1e-6
    )


@pytest.mark.parametrize("ordered", [False, True])
def test_mini_pointnet_equals_its_layers_written_out(ordered):
    torch.manual_seed(0)
    net = MiniPointNet(4, (8, 16, 12), 6, 8, ordered).eval()
    sizes = torch.tensor([3, 1, 5])
    token = torch.repeat_interleave(torch.arange(3), sizes)
    slot = torch.cat([torch.arange(n) for n in sizes])
    inputs = torch.randn(9, 4)
    found, members = net(inputs, token, slot, sizes)
    assert torch.equal(max_per_token(members, sizes), found)
    for group in range(3):
        local = net.lift(net.first(inputs[token == group]))
        if ordered:
            local = local + net.order(net.code[: sizes[group]])
        joined = torch.cat([local.amax(0).expand(len(local), -1), local], 1)
        assert torch.allclose(found[group], net.second(net.mix(joined)).amax(0), atol=1e-6)


def test_paper_preset_has_the_published_size():
    config = override(PolarMAEConfig(), SPEC.presets["paper"].model, "model")
    net = SPEC.build(config, INPUTS, LARTPC_SEGMENTATION)
    encoder = sum(p.numel() for m in net.backbone() for p in m.parameters())
    # The published encoder's own count: norms there are affine too, and running statistics are not parameters.
    assert encoder == 21_837_568
    assert sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in net.head.parameters()) == 29_570_080
    assert net.n_parameters == 22_858_628


@pytest.mark.parametrize(
    "changes", [{"width": 31}, {"mask_ratio": 1.0}, {"fetch_layers": (2,)}, {"fetch_layers": ()}, {"head": "none"}]
)
def test_impossible_settings_are_refused(changes):
    from benchmark.errors import ConfigError

    with pytest.raises(ConfigError):
        model(**changes)


def test_published_class_weights_are_inverse_frequencies(unit_cases):
    net = model(inverse_frequency_loss=True)
    one = event(0).to_torch()
    torch.manual_seed(0)
    found = torch.randn(one.n_points, 4)
    expected = focal_loss(found, one.target, unit_cases["fl_weights"], 2.0, -1)
    assert torch.allclose(net.loss(one, found), expected, rtol=1e-5)


def test_mask_counts_equal_the_reference(unit_cases):
    expected = unit_cases["mask_counts_len1_512"].tolist()
    assert [n_masked(n, 0.6) for n in range(1, 513)] == expected
    lengths = (1, 2, 17, 300)
    mask = random_mask(lengths, 0.6, torch.device("cpu"))
    assert [int(m.sum()) for m in mask.split(list(lengths))] == [expected[n - 1] for n in lengths]


def test_masks_drawn_at_once_hide_as_many_and_every_token_as_often():
    lengths = (1, 2, 0, 17, 40)
    torch.manual_seed(0)
    masks = torch.stack([random_mask_at_once(lengths, 0.6, torch.device("cpu")) for _ in range(2000)])
    shares = []
    for length, part in zip(lengths, masks.split(lengths, dim=1), strict=True):
        assert (part.sum(1) == n_masked(length, 0.6)).all()
        shares.append((part.float().mean(0) - n_masked(length, 0.6) / max(length, 1)).abs())
    assert torch.cat(shares).max() < 0.05  # over four standard deviations of a share
    last = masks[:, -40:].float()
    together = (last[:, :, None] * last[:, None, :]).mean(0)[~torch.eye(40, dtype=torch.bool)]
    assert (together - 24 / 40 * 23 / 39).abs().max() < 0.06  # pairs are hidden together as often as without order
    assert random_mask_at_once((), 0.6, torch.device("cpu")).shape == (0,)


def test_chamfer_distance_equals_the_reference(unit_cases):
    lengths = unit_cases["ch_len"]
    true, predicted = unit_cases["ch_a"], unit_cases["ch_b"].clone().requires_grad_()
    mask = torch.arange(true.shape[1]) < lengths[:, None]
    found = chamfer_per_group(predicted, true, mask)
    assert torch.allclose(found, unit_cases["ch_per"], rtol=1e-6)
    assert torch.allclose(found.mean(), unit_cases["ch_loss"], rtol=1e-6)
    found.sum().backward()
    assert (predicted.grad[~mask] == 0).all() and (predicted.grad[mask] != 0).any()


def test_chamfer_gradient_equals_that_of_all_pairs():
    torch.manual_seed(0)
    true, predicted, mask = (
        torch.randn(2, 5, 3),
        torch.randn(2, 5, 3, requires_grad=True),
        torch.ones(2, 5, dtype=torch.bool),
    )
    squared = (true[:, :, None] - predicted[:, None]).square().sum(-1)
    expected = torch.autograd.grad((squared.amin(2).mean(1) + squared.amin(1).mean(1)).sum(), predicted)[0]
    found = torch.autograd.grad(chamfer_per_group(predicted, true, mask).sum(), predicted)[0]
    assert torch.allclose(found, expected, atol=1e-6)


def test_row_batch_norm_equals_the_masked_reference_on_valid_rows(unit_cases):
    stored = unit_cases["mbn_train_out"]  # (2, C, K); an invalid slot holds exactly the bias
    bias = unit_cases["mbn_bias"]
    valid = ~(stored == bias[None, :, None]).all(1)
    torch.manual_seed(0)
    net = RowBatchNorm(len(bias))
    with torch.no_grad():
        net.weight.copy_(unit_cases["mbn_weight"])
        net.bias.copy_(bias)
    rows = stored.transpose(1, 2)[valid]
    inputs = (rows - bias) / unit_cases["mbn_weight"] * 3 + 2  # any rows with these as their normalised values
    assert torch.allclose(net(inputs), rows, atol=2e-4)
    variance, mean = torch.var_mean(inputs, 0, correction=0)
    assert torch.allclose(net.running_mean, 0.1 * mean) and torch.allclose(net.running_var, 0.9 + 0.1 * variance)
    expected = functional.batch_norm(inputs, net.running_mean, net.running_var, net.weight, net.bias)
    assert torch.allclose(net.eval()(inputs), expected)


def test_focal_loss_and_pooling_equal_the_reference(unit_cases):
    logits, labels, weights = (unit_cases[f"fl_{n}"] for n in ("logits", "labels", "weights"))
    assert torch.allclose(focal_loss(logits, labels, weights, 2.0, -1), unit_cases["fl_mean"], rtol=1e-5)
    mask = unit_cases["mln_mask"]
    sizes = mask.sum(1)
    assert torch.allclose(max_per_token(unit_cases["mln_x"][mask], sizes), unit_cases["masked_max"])
    mean = torch.segment_reduce(unit_cases["mln_x"][mask], "mean", lengths=sizes, axis=0)
    assert torch.allclose(mean, unit_cases["masked_mean"])


def test_interpolation_weights_equal_the_reference():
    squared = np.array([[1e-4, 4e-4, 9e-4, np.inf, np.inf], [0.0, 1e-3, 1.0, 1.0, 1.0]], np.float32)
    found = inverse_weights(squared)
    inverse = np.array([1 / (1e-4 + 1.1920929e-7), 1 / (4e-4 + 1.1920929e-7), 1 / (9e-4 + 1.1920929e-7), 0, 0])
    assert np.allclose(found[0], inverse / inverse.sum(), rtol=1e-5)
    assert found[1, 0] > 0.999
