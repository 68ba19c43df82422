"""The transformer from scratch is PoLAr-MAE without pre-training: same tokens, encoder, head and recipe, no decoder."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.contracts import Task, concatenate
from benchmark.errors import ConfigError
from benchmark.models import polarmae, transformer
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.settings import override
from benchmark.tasks import LARTPC_SEGMENTATION
from builders.token_events import INPUTS, event

PRESETS = ["default", "tiny", "paper"]
EVENTS = Task(
    name="events", version=1, summary="Whether an event has a cloud", data="points", level="event",
    kind="classification", label="kind", classes=("tracks", "cloud"),
)  # fmt: skip


def build(spec=transformer.SPEC, preset="tiny", task=LARTPC_SEGMENTATION, seed=0, **changes):
    config = override(spec.config(), {**spec.presets[preset].model, **changes}, "model")
    torch.manual_seed(seed)
    return spec.build(config, INPUTS, task)


def encoder_size(net):
    return sum(p.numel() for module in net.backbone() for p in module.parameters())


@pytest.mark.parametrize("preset", PRESETS)
def test_encoder_and_head_have_the_sizes_of_polarmae(preset):
    with torch.device("meta"):
        net, other = build(preset=preset), build(polarmae.SPEC, preset)
    assert encoder_size(net) == encoder_size(other) > 0
    assert net.n_parameters == other.n_parameters == sum(p.numel() for p in net.parameters())
    shapes = {k: v.shape for k, v in other.state_dict().items() if not k.startswith("decoder.")}
    assert {k: v.shape for k, v in net.state_dict().items()} == shapes
    if preset == "paper":
        assert encoder_size(net) == 21_837_568  # the published encoder's


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_are_those_of_polarmae_as_far_as_it_has_them(preset):
    net, other = (resolve(Request(name, preset=preset, mode="scratch")) for name in ("transformer", "polarmae"))
    mine, theirs = (dataclasses.asdict(c.model_config) for c in (net, other))
    assert mine == {k: theirs[k] for k in mine}
    assert set(theirs) - set(mine) == {"behaviour", "mask_ratio", "decoder_depth", "chamfer_weight", "energy_weight"}
    assert net.train == other.train
    assert (net.optim, net.optim.backbone_lr_scale) == (other.optim, 1.0)


@pytest.mark.parametrize("changes", [{}, {"head": "linear"}])
def test_with_the_same_weights_it_computes_what_polarmae_does(changes):
    net, other = build(**changes), build(polarmae.SPEC, seed=1, **changes)
    batch = concatenate([event(0), event(1, 90), event(2, 400)])
    assert not np.allclose(net.predict(batch), other.predict(batch), atol=1e-3)
    net.load_state_dict({k: v for k, v in other.state_dict().items() if not k.startswith("decoder.")})
    assert np.array_equal(net.predict(batch), other.predict(batch))
    assert torch.equal(net.tokens(batch.to_torch()).inputs, other.tokens(batch.to_torch()).inputs)


def test_the_same_seed_draws_the_encoder_of_polarmae():
    net, other = build().state_dict(), build(polarmae.SPEC).state_dict()
    drawn = {k for k in net if not k.startswith("head.")}
    assert drawn and all(torch.equal(net[k], other[k]) for k in drawn)


def test_nothing_is_pretrained():
    assert not transformer.SPEC.pretrains
    net = build()
    assert list(net.pretraining_only()) == [] and not hasattr(net, "decoder")
    with pytest.raises(NotImplementedError):
        net.pretrain_loss(event(0).to_torch())
    with pytest.raises(ConfigError):
        resolve(Request("transformer", mode="fft"))
    assert resolve(Request("transformer")).mode == "scratch"


def test_its_code_is_free_of_what_only_pretraining_needs():
    names = {p.name for p in registry.model_files("transformer")}
    assert {"transformer.py", "_token_transformer.py", "_vit.py"} <= names
    assert not names & {"_masked_autoencoder.py", "_masking.py", "_reference.py", "_released.py"}


def train(net, batch, steps=40):
    optimiser = torch.optim.AdamW(net.train().parameters(), lr=3e-3)
    for step in range(steps):
        torch.manual_seed(step)
        optimiser.zero_grad()
        net.finetune_loss(batch)[0].backward()
        optimiser.step()


def test_it_learns_to_tell_tracks_from_a_cloud():
    net = build()
    train(net, concatenate([event(seed) for seed in range(4)]).to_torch())
    unseen = concatenate([event(seed) for seed in range(20, 24)])
    assert (net.predict(unseen).argmax(1) == unseen.target).mean() > 0.9


def kinds(seeds):
    """Whole events, of class 1, and events that have lost their cloud, of class 0."""
    events = []
    for seed in seeds:
        one = event(seed)
        kept = one.target == seed % 2 if seed % 2 else np.ones(one.n_points, bool)
        one = one.map_arrays(lambda a, kept=kept: a[kept] if len(a) == len(kept) else a)
        one = dataclasses.replace(one, offsets=np.array([0, kept.sum()]), target=np.array([1 - seed % 2]))
        events.append(one)
    return concatenate(events)


@pytest.mark.parametrize("head", ["pointnet", "linear"])
def test_it_learns_to_tell_events_apart(head):
    net = build(task=EVENTS, head=head)
    train(net, kinds(range(8)).to_torch())
    unseen = kinds(range(20, 36))
    assert net.predict(unseen).shape == (16, 2)
    assert (net.predict(unseen).argmax(1) == unseen.target).mean() > 0.8


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_scores_points_and_events(preset):
    batch = concatenate([event(0, 60), event(1, 30)])
    for task, rows in ((LARTPC_SEGMENTATION, batch.n_points), (EVENTS, 2)):
        scores = build(preset=preset, task=task).predict(batch)
        assert scores.shape == (rows, task.n_outputs) and np.isfinite(scores).all()


def test_attention_and_token_features_are_those_of_the_encoder():
    net, batch = build().eval(), concatenate([event(0), event(1, 90)]).to_torch()
    found, weights = net.token_features(batch), net.attention(batch, 1)
    assert [w.shape for w in weights] == [(2, n, n) for n in found.lengths]
    with torch.no_grad():
        assert torch.equal(found.features, net.encode(net.tokens(batch))[0][-1])
