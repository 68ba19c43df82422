"""What PoLAr-MAE and Point-MAE share: both behaviours, points and events, tokens and reconstruction, released names."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmark.contracts import OptimConfig, Task, TokenModel, concatenate
from benchmark.contracts.heads import PooledHead
from benchmark.errors import CheckpointError, ConfigError
from benchmark.models import _reference, pointmae, polarmae
from benchmark.models._masking import Masked, chamfer_per_group, random_mask
from benchmark.models._point_embedding import MiniPointNet
from benchmark.models._reference import PaddedMiniPointNet, PlainBatchNorm
from benchmark.models._released import from_released, to_released
from benchmark.models._vit import Packing, similar_lengths
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.settings import override
from benchmark.tasks import LARTPC_SEGMENTATION
from benchmark.training.module import Training
from builders.token_events import INPUTS, event

SPECS = {"polarmae": polarmae.SPEC, "pointmae": pointmae.SPEC}
PLAIN = {"point_features": False, "member_features": False}  # what released segmentation checkpoints need
EVENTS = Task(  # no dataset has such labels yet
    name="events", version=1, summary="A class for each event", data="points", level="event", kind="classification",
    label="kind", classes=("a", "b", "c"),
)  # fmt: skip


def build(name="polarmae", seed=0, preset="tiny", task=LARTPC_SEGMENTATION, **changes):
    spec = SPECS[name]
    config = override(spec.config(), {**spec.presets[preset].model, **changes}, "model")
    torch.manual_seed(seed)
    return spec.build(config, INPUTS, task)


def reference(name="polarmae", **changes):
    return build(name, behaviour="reference", **changes).eval()


@pytest.fixture(scope="module")
def batch():
    return concatenate([event(0), event(1, 90), event(2, 400)]).to_torch()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_published_presets_have_the_published_sizes(name, preset):
    with torch.device("meta"):
        net = build(name, preset=preset)
    encoder = sum(p.numel() for m in net.backbone() for p in m.parameters())
    head = sum(p.numel() for p in net.head.parameters())
    pretraining = sum(p.numel() for p in net.parameters()) - head
    assert (encoder, net.n_parameters) == (21_837_568, 22_858_628)
    assert pretraining == {"polarmae": 29_570_080, "pointmae": 28_985_856}[name]


def test_pointmae_has_no_energy_infilling(batch):
    net = build("pointmae")
    assert net.decoder.infill is None
    assert not [f.name for f in dataclasses.fields(net.config) if "energy" in f.name]
    torch.manual_seed(1)
    total, parts = net.pretrain_loss(batch)
    assert set(parts) == {"chamfer"}
    assert torch.equal(total, parts["chamfer"])


def test_the_number_of_the_overlap_follows_the_behaviour_until_it_is_given():
    def overlap(*assignments, preset="tiny"):
        return resolve(Request("polarmae", preset=preset, assignments=assignments)).as_dict()["model_config"]["overlap"]

    assert overlap() == 0.73
    assert overlap("model.behaviour=reference") == overlap(preset="reference") == 0.72
    assert overlap("model.behaviour=reference", "model.overlap=0.73") == 0.73
    assert overlap("model.behaviour=clean", preset="reference") == 0.73


def test_reference_preset_trains_as_published():
    config = resolve(Request("pointmae", preset="reference"))
    assert (config.train.rotation, config.pretrain.rotation, config.optim.decay) == ("batch", "batch", "everything")
    assert (config.pretrain.steps, config.pretrain.events, config.model_config.behaviour) == (500_000, 0, "reference")
    config = resolve(Request("pointmae", preset="paper"))
    assert (config.train.rotation, config.model_config.behaviour) == ("event", "clean")


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("behaviour", ["clean", "reference"])
def test_weights_are_drawn_backbone_first_then_decoder_then_head(name, behaviour):
    """Another order would change the results of every seed."""
    net, deeper = (build(name, behaviour=behaviour, decoder_depth=d) for d in (1, 2))
    assert [n for n, _ in net.named_children()] == ["embed", "position", "encoder", "decoder", "head"]
    state, other = net.state_dict(), deeper.state_dict()
    for part, same in (("embed.", True), ("position.", True), ("encoder.", True), ("head.", False)):
        names = [k for k in state if k.startswith(part)]
        assert names and all(torch.equal(state[k], other[k]) for k in names) == same


# Behaviours


@pytest.mark.parametrize("name", SPECS)
def test_reference_scores_change_with_the_batch_and_clean_ones_do_not(name):
    one, other = event(3), event(4, 600)
    for net, changes in ((build(name), False), (reference(name), True)):
        alone, together = net.predict(one), net.predict(concatenate([one, other]))[: one.n_points]
        assert np.allclose(alone, together, atol=2e-6) != changes
        assert np.isfinite(together).all()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("behaviour", ["clean", "reference"])
def test_visible_tokens_are_encoded_without_their_batch_under_clean_only(name, behaviour):
    one, other = event(3), event(4, 600)
    net = build(name, behaviour=behaviour).eval()
    features = []
    for batch in (one.to_torch(), concatenate([one, other]).to_torch()):
        tokens = net.tokens(batch)
        hidden = torch.zeros(len(tokens), dtype=torch.bool)
        hidden[: tokens.lengths[0] // 2] = True
        features.append(net.encode_visible(Masked.of(tokens, hidden))[: tokens.lengths[0] - tokens.lengths[0] // 2])
    assert torch.allclose(*features, atol=2e-6) == (behaviour == "clean")


def test_reference_groups_follow_the_stored_order_and_clean_ones_do_not():
    one = event(5, 900)
    order = np.random.default_rng(0).permutation(one.n_points)
    moved = one.map_arrays(lambda a: a[order] if len(a) == one.n_points else a)
    for net, changes in ((build(), False), (reference(), True)):
        stored, shuffled = (set(map(tuple, net.tokens(b.to_torch()).centres.tolist())) for b in (one, moved))
        assert (stored != shuffled) == changes


def test_reference_context_grows_once_and_then_cuts():
    net = reference(max_tokens=30)
    small, large, larger = (event(seed, n).to_torch() for seed, n in ((0, 30), (1, 200), (2, 900)))
    free = [build(max_tokens=512, behaviour="reference").tokens(b).lengths[0] for b in (small, large, larger)]
    assert free[0] <= 30 < free[1] < free[2]
    lengths = [net.tokens(b).lengths[0] for b in (small, large, larger, large)]
    assert lengths == [free[0], free[1], free[1], free[1]]
    assert net.context_length == free[1]
    kept = net.tokens(larger)
    first = build(max_tokens=512, behaviour="reference").tokens(larger).centres[: free[1]]
    assert torch.equal(kept.centres, first)


@pytest.mark.parametrize("ordered", [False, True])
def test_reference_padding_enters_the_maxima(ordered):
    """Against the layers written out over all slots, padded ones included."""
    torch.manual_seed(0)
    net, n_slots = PaddedMiniPointNet(4, (8, 16, 12), 6, 5, ordered), 5
    for norm in (net.first[1], net.second[0]):
        torch.nn.init.normal_(norm.bias)
    sizes = torch.tensor([3, 1, 5])
    token = torch.repeat_interleave(torch.arange(3), sizes)
    slot = torch.cat([torch.arange(n) for n in sizes])
    inputs = torch.randn(9, 4)
    mask = torch.arange(n_slots) < sizes[:, None]

    def masked_norm(norm, rows):  # (3, 5, C)
        mean, variance = rows[mask].mean(0), rows[mask].var(0, correction=0)
        return (rows - mean) / (variance + norm.eps).sqrt() * mask[:, :, None] * norm.weight + norm.bias

    dense = torch.zeros(3, n_slots, 4)
    dense[token, slot] = inputs
    local = net.lift(masked_norm(net.first[1], net.first[0](dense)).relu())
    if ordered:
        local = local + net.order(net.code)
    joined = torch.cat([local.amax(1, keepdim=True).expand_as(local), local], 2)
    expected = net.second[2](masked_norm(net.second[0], net.mix(joined)).relu()).amax(1)
    found, _ = net(inputs, token, slot, sizes)
    assert torch.allclose(found, expected, atol=1e-5)
    clean = MiniPointNet(4, (8, 16, 12), 6, 5, ordered)
    clean.load_state_dict(net.state_dict())
    other, _ = clean(inputs, token, slot, sizes)
    assert not torch.allclose(other[:2], expected[:2], atol=1e-3)


def test_reference_batch_norm_of_a_single_row_is_its_bias():
    norm = PlainBatchNorm(3)
    torch.nn.init.normal_(norm.bias)
    rows = torch.randn(1, 3, requires_grad=True)
    found = norm(rows)
    assert torch.allclose(found, norm.bias[None])
    assert torch.allclose(norm.running_mean, 0.1 * rows[0])
    assert torch.allclose(norm.running_var, torch.full((3,), 0.9))


def test_reference_drops_attention_in_evaluation_of_pretraining_only(batch):
    net, still = reference(attention_dropout=0.3), reference()
    still.load_state_dict(net.state_dict())
    first, second = (net.token_features(batch).features for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(still.token_features(batch).features, still.token_features(batch).features)
    assert np.array_equal(net.predict(batch), still.predict(batch))
    clean = build(attention_dropout=0.3)
    assert torch.equal(clean.token_features(batch).features, clean.token_features(batch).features)


def test_reference_drops_tokens_and_clean_drops_events():
    lengths, n = (40, 60), 100
    packing = Packing.of(lengths, torch.repeat_interleave(torch.arange(2), torch.tensor(lengths)))
    for net, per_event in ((build(drop_path=0.5), True), (build(drop_path=0.5, behaviour="reference"), False)):
        net.train()
        kept = []
        for seed in range(20):
            torch.manual_seed(seed)
            made = net.encoder.branch_factors(packing)
            assert made.shape == (len(net.encoder.blocks), 2, n, 1)
            assert bool((made[0] == 1).all())  # the first block drops nothing
            assert set(made[-1].unique().tolist()) <= {0.0, 2.0}
            kept.append(made[-1, 0, :, 0])
        uniform = [all(len(set(part.tolist())) == 1 for part in k.split(lengths)) for k in kept]
        assert all(uniform) == per_event
        assert 0.3 < torch.stack(kept).mean() / 2 < 0.7


def test_reference_interpolates_from_the_first_token_where_neighbours_are_missing():
    small = event(9, 4).to_torch()
    net = reference()
    tokens = net.tokens(small)
    assert len(tokens) < 5
    found = net.interpolation(small, tokens)
    missing = found.weights[:, len(tokens) :]
    assert (found.tokens[:, len(tokens) :] == 0).all()
    assert (missing > 1 / 5 - 1e-3).all()  # each outweighs every neighbour at a distance
    assert torch.allclose(found.weights.sum(1), torch.ones(small.n_points))


@pytest.mark.parametrize(("behaviour", "live"), [("clean", False), ("reference", True)])
def test_fixed_backbone_rests_under_clean_and_keeps_its_statistics_live_under_reference(
    behaviour, live, batch, monkeypatch
):
    net = build(behaviour=behaviour, attention_dropout=0.2)
    training = Training(net, OptimConfig(), 10, 0, "finetune", frozen=True).train()
    monkeypatch.setattr(training, "optimizers", lambda: torch.optim.SGD(net.head.parameters(), lr=0.1))
    monkeypatch.setattr(training, "log", lambda *a, **k: None)
    monkeypatch.setattr(training, "log_dict", lambda *a, **k: None)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    training.training_step(batch, 0)["loss"].backward()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert any(k.startswith("embed.") for k in changed) == live
    assert net.encoder.blocks[0].training == live
    backbone = [p for m in net.backbone() for p in m.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in backbone)
    assert all(p.grad is not None for p in net.head.parameters())


# Events


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("changes", [{}, {"behaviour": "reference"}])
@pytest.mark.parametrize("head", ["pointnet", "linear"])
def test_an_event_is_read_from_the_mean_and_the_maximum_of_its_tokens(name, changes, head, batch):
    net = build(name, task=EVENTS, head=head, **changes).eval()
    assert isinstance(net.head, PooledHead) == (head == "pointnet")
    tokens = net.tokens(batch)
    with torch.no_grad():
        events = net.fetched(net.encode(tokens)[0]).split(tokens.lengths)
        pooled = torch.stack([torch.cat([rows.mean(0), rows.amax(0)]) for rows in events])
        expected = (net.head.perceptron if head == "pointnet" else net.head.score)(pooled)
        assert torch.allclose(net(batch), expected, atol=1e-5)
    assert expected.shape == (3, 3)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("preset", ["default", "paper", "reference"])
@pytest.mark.parametrize("head", ["pointnet", "linear"])
def test_every_preset_scores_events_and_learns_from_them(name, preset, head):
    net = build(name, preset=preset, task=EVENTS, head=head)
    batch = dataclasses.replace(concatenate([event(0, 40), event(1, 4)]), target=np.array([0, 2])).to_torch()
    loss = net.train().finetune_loss(batch)[0]
    loss.backward()
    assert torch.isfinite(loss)
    unused = {id(p) for m in net.pretraining_only() for p in m.parameters()}
    for key, parameter in net.named_parameters():
        assert (parameter.grad is None) == (id(parameter) in unused), key
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key
    assert np.isfinite(net.predict(batch)).all()
    loss, _ = net.train().pretrain_loss(batch)
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("behaviour", ["clean", "reference"])
def test_an_event_of_one_point_is_scored(name, behaviour):
    one = event(3)
    single = one.map_arrays(lambda a: a[:1] if len(a) == one.n_points else a)
    single = dataclasses.replace(single, offsets=np.array([0, 1]))
    assert np.isfinite(build(name, task=EVENTS, behaviour=behaviour).predict(single)).all()


@pytest.mark.parametrize("name", SPECS)
def test_a_backbone_serves_points_and_events(name, batch, tmp_path):
    """Weights of pre-training do not depend on the task; what they make of the tokens does not either."""
    points, events = build(name, seed=1), build(name, seed=2, task=EVENTS)
    points.save_pretrained(tmp_path / "weights", {})
    events.load_backbone(tmp_path / "weights")
    assert torch.equal(events.token_features(batch).features, points.token_features(batch).features)
    events.load_pretrained(tmp_path / "weights")
    assert torch.equal(events.reconstruct(batch).coords, points.reconstruct(batch).coords)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("mode", ["peft", "frozen"])
def test_a_fixed_backbone_is_read_by_the_head_of_its_mode(name, mode, batch, monkeypatch):
    net = build(name, task=EVENTS, **SPECS[name].mode_overrides.get(mode, {}))
    assert isinstance(net.head, PooledHead) == (mode == "peft")
    training = Training(net, OptimConfig(), 10, 0, "finetune", frozen=True).train()
    monkeypatch.setattr(training, "optimizers", lambda: torch.optim.SGD(net.head.parameters(), lr=0.1))
    monkeypatch.setattr(training, "log", lambda *a, **k: None)
    monkeypatch.setattr(training, "log_dict", lambda *a, **k: None)
    labelled = dataclasses.replace(batch, target=torch.tensor([0, 2, 1]))
    training.training_step(labelled, 0)["loss"].backward()
    trained = {k for k, p in net.named_parameters() if p.grad is not None}
    assert trained == {f"head.{k}" for k, _ in net.head.named_parameters()}


# Tokens, attention, reconstruction


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("behaviour", ["clean", "reference"])
def test_token_features_are_those_of_the_encoder_in_the_units_of_the_batch(name, behaviour, batch):
    net = build(name, behaviour=behaviour).train()
    found = net.token_features(batch)
    assert isinstance(net, TokenModel)
    assert net.training and net.encoder.blocks[0].training  # its mode is what it was
    tokens = net.tokens(batch)
    with torch.no_grad():
        assert torch.equal(found.features, net.eval().encode(tokens)[0][-1])
    assert found.lengths == tokens.lengths
    assert len(found.features) == len(found.centres) == sum(found.lengths)
    distance = (batch.coords[found.point] - found.centres[found.token]).norm(dim=1)
    assert distance.max() < 5.0 + 1e-3  # voxels
    assert torch.equal(found.centres, found.centres.round())
    assert torch.equal(batch.event_index[found.point], tokens.event[found.token])


@pytest.mark.parametrize("layer", [0, 1])
def test_attention_embeds_the_tokens_once(layer, batch):
    net, calls = build(), []
    net.embed.register_forward_hook(lambda *_: calls.append(1))
    net.attention(batch, layer)
    assert len(calls) == 1


@pytest.mark.parametrize(("layer", "rotary_wave"), [(0, 40.0), (1, 40.0), (1, 0.0)])
def test_attention_weights_are_those_that_mix_the_values(layer, rotary_wave, batch):
    net = build(rotary_wave=rotary_wave)
    weights = net.attention(batch, layer)
    tokens = net.tokens(batch)
    assert [w.shape for w in weights] == [(2, n, n) for n in tokens.lengths]
    assert all(torch.allclose(w.sum(2), torch.ones(w.shape[:2])) for w in weights)
    block = net.eval().encoder.blocks[layer]
    with torch.no_grad():
        entering = net.embed(tokens.inputs, tokens.token, tokens.slot, tokens.sizes)[0]
        if layer:
            entering = net.encode(tokens)[0][layer - 1]
        positions = net.position(tokens.centres)
        value = block._heads(entering + positions.added, positions)[2]
        mixed = [torch.einsum("hqk,khd->qhd", w, v) for w, v in zip(weights, value.split(tokens.lengths), strict=True)]
        entering = entering + positions.added
        after = entering + block.project(torch.cat(mixed).flatten(1))
        expected = after + block.mlp(block.norm2(after))
        assert torch.allclose(net.encode(tokens)[0][layer], expected, atol=1e-5)
    with pytest.raises(ConfigError, match="no encoder block 2"):
        net.attention(batch, 2)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("behaviour", ["clean", "reference"])
def test_reconstruction_is_what_the_chamfer_loss_scores(name, behaviour, batch):
    net = build(name, behaviour=behaviour)
    found, again, other = (net.reconstruct(batch, seed=s) for s in (1, 1, 2))
    assert torch.equal(found.coords, again.coords)
    assert not torch.equal(found.hidden, other.hidden)
    tokens = net.eval().tokens(batch)
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(found.hidden, random_mask(tokens.lengths, 0.6, torch.device("cpu"), generator))
    assert (found.tokens.features[found.hidden] == 0).all() and (found.tokens.features[~found.hidden] != 0).any(1).all()
    assert found.hidden[found.token].all()
    masked = Masked.of(tokens, found.hidden)
    target = masked.target
    offsets = (found.coords - found.tokens.centres[found.token]) / net.config.group_radius
    predicted = torch.zeros(len(target), target.max_size, 4)
    predicted[target.token, target.slot] = torch.cat([offsets, found.log_energy[:, None]], 1)
    true, mask = target.padded_members()
    with torch.no_grad():
        _, parts = net.masked_loss(masked)
    assert torch.allclose(chamfer_per_group(predicted, true, mask).mean(), parts["chamfer"], rtol=1e-4)


def test_events_are_attended_to_together_when_they_are_about_as_long():
    buckets = similar_lengths((100, 5, 90, 79, 6, 40))
    assert buckets == [[0, 2], [3], [5], [4, 1]]
    assert similar_lengths((7,)) == [[0]]


# Released checkpoints


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("stage", ["pretrain", "segmentation"])
def test_released_names_there_and_back_change_no_bit(name, stage):
    state = build(name, **PLAIN).state_dict()
    released = to_released(state, stage)
    back = from_released(released, build(name, seed=1, **PLAIN).state_dict(), stage)
    absent = "head." if stage == "pretrain" else "decoder."
    assert set(back) == {k for k in state if not k.startswith(absent)}
    assert all(torch.equal(v, state[k]) and v.dtype == state[k].dtype for k, v in back.items())
    again = to_released({**state, **back}, stage)
    assert all(torch.equal(again[k], v) for k, v in released.items())


def test_class_weights_in_a_released_checkpoint_are_no_weights():
    state = build(**PLAIN).state_dict()
    released = {**to_released(state, "segmentation"), "loss_func.weight": torch.ones(4)}
    assert from_released(released, state, "segmentation").keys() == {k for k in state if not k.startswith("decoder.")}


def test_a_released_checkpoint_that_does_not_fit_is_told_in_one_sentence():
    net = build(**PLAIN).state_dict()
    fits = to_released(net)
    lacking = {k: v for k, v in fits.items() if k != "increase_dim.bias"}
    misshaped = {**fits, "mask_token": torch.zeros(3)}
    for state, message in (
        (lacking, "lacks 1 tensors .first: increase_dim.bias"),
        ({**fits, "teacher.weight": torch.zeros(1)}, "holds unknown 1 tensors .first: teacher.weight"),
        (misshaped, r"has misshaped 1 tensors .first: mask_token is .3,., not .32,."),
        ({**fits, "mask_token": None}, "mask_token is None"),
    ):
        with pytest.raises(CheckpointError, match=message):
            from_released(state, net)
    with pytest.raises(CheckpointError, match="holds unknown 18 tensors"):
        from_released(fits, build("pointmae", **PLAIN).state_dict())
    with pytest.raises(CheckpointError, match=r"has misshaped 1 tensors .first: upsampler\.mlp_convs"):
        from_released(to_released(net, "segmentation"), build().state_dict(), "segmentation")


def test_reference_and_clean_models_share_their_weights(batch):
    net, other = build(**PLAIN), reference(**PLAIN)
    other.load_state_dict(net.state_dict())
    assert isinstance(other, _reference.ReferenceAutoencoder)
    assert not np.allclose(other.predict(batch), net.predict(batch), atol=1e-3)


def test_every_block_of_encoder_and_decoder_is_a_part_to_compile():
    net = build()
    parts = list(net.parts_to_compile())
    assert len(parts) == net.config.depth + net.config.decoder_depth == len(set(parts))
    assert all(hasattr(part, "qkv") for part in parts)
