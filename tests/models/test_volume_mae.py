"""The masked autoencoder of volumes: what the published code lacked, sizes, masks, heads."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.models._volume_transformer import patches, unpatches
from benchmark.ops.smooth import fill
from benchmark.tasks import TASKS
from builders.lif_batches import inputs_of, make_batch, sample

SPEC = registry.model_spec("volume_mae")
SEGMENTATION, RECONSTRUCTION = TASKS["lif-segmentation"], TASKS["lif-reconstruction"]
SMALL_PAPER = {"width": 32, "depth": 6, "heads": 4, "hidden": 32, "decoder_width": 32, "decoder_hidden": 64}


def build(task=SEGMENTATION, preset="tiny", seed=0, **changes):
    torch.manual_seed(seed)
    config = SPEC.config(**{**SPEC.presets[preset].model, **changes})
    return SPEC.build_model(config, inputs_of(task), task)


def encoder_of(model):
    return [(n, p) for n, p in model.named_parameters() if n.startswith(("embed", "position", "encoder", "norm"))]


@pytest.mark.parametrize(("preset", "changes"), [("tiny", {}), ("paper", SMALL_PAPER)])
def test_every_parameter_of_the_encoder_gets_a_gradient_from_pretraining(preset, changes):
    model = build(preset=preset, **changes)
    optimiser = torch.optim.AdamW([p for m in (*model.backbone(), *model.pretraining_only()) for p in m.parameters()])
    for step in range(2):  # what starts at zero lets nothing through in the first step
        optimiser.zero_grad()
        loss, parts = model.pretrain_loss(make_batch(SEGMENTATION, 4, f"g{step}").to_torch())
        loss.backward()
        optimiser.step()
    weight = model.config.token_weight if model.decoder.refine else 0.0
    torch.testing.assert_close(parts["mse"] + weight * parts.get("mse_tokens", 0.0), loss)
    silent = [n for n, p in encoder_of(model) if p.grad is None or not p.grad.abs().sum() > 0]
    assert not [n for n in silent if not n.endswith("qkv.bias")]  # a shift of all keys changes no softmax
    for name, parameter in encoder_of(model):
        if name.endswith("qkv.bias"):
            queries_and_values = torch.cat([parameter.grad.chunk(3)[0], parameter.grad.chunk(3)[2]])
            assert queries_and_values.abs().sum() > 0
    assert len({id(layer.qkv.weight) for layer in model.encoder}) == model.config.depth  # layers of their own


def test_attention_depends_on_the_tile_and_its_rows_sum_to_one():
    model = build()
    first, second = (model.attention(sample(SEGMENTATION, i).to_torch(), 1) for i in (0, 1))
    assert first.shape == (1, 2, 16, 16)
    torch.testing.assert_close(first.sum(-1), torch.ones(1, 2, 16))
    assert (first - second).abs().max() > 1e-3


def test_what_the_decoder_predicts_depends_on_the_encoder():
    batch = make_batch(RECONSTRUCTION).without_target().to_torch()
    model = build(RECONSTRUCTION, residual="none", refine=0)
    before = model(batch)
    with torch.no_grad():
        model.encoder[0].narrow.weight.add_(torch.randn_like(model.encoder[0].narrow.weight))
    assert (model(batch) - before)[:, 0][batch.volumes.hidden_voxels].abs().max() > 1e-3


@pytest.mark.parametrize("changes", [{}, {"residual": "none", "refine": 0}, {"refine": 0}])
def test_values_of_hidden_voxels_cannot_leak_into_the_prediction(changes):
    model = build(RECONSTRUCTION, **changes)
    batch = make_batch(RECONSTRUCTION).to_torch()
    for layer in (model.decoder.leave, *([model.decoder.refine.layers[-1]] if model.decoder.refine else [])):
        torch.nn.init.normal_(layer.weight, std=0.1)
    values = torch.where(batch.volumes.hidden_voxels, 1e3, batch.volumes.values)
    wild = dataclasses.replace(batch, volumes=dataclasses.replace(batch.volumes, values=values))
    torch.testing.assert_close(model(wild), model(batch))
    visible = ~batch.volumes.hidden_voxels
    torch.testing.assert_close(model(batch)[:, 0][visible], batch.volumes.values[visible])


def test_samples_of_a_batch_have_masks_of_their_own_with_the_asked_share():
    model = build(mask_ratio=0.5)
    hidden = model.draw_hidden(make_batch(SEGMENTATION, 4).to_torch().volumes.values)
    assert (hidden.flatten(1).sum(1) == 8).all()
    assert len({tuple(h.flatten().tolist()) for h in hidden}) > 1
    one, two = (model.reconstruct(sample(SEGMENTATION).to_torch(), seed) for seed in (3, 3))
    torch.testing.assert_close(one[0], two[0])
    assert (model.reconstruct(sample(SEGMENTATION).to_torch(), 4)[1] != one[1]).any()


def test_other_numbers_of_hidden_tokens_in_a_batch_change_nothing():
    model = build(RECONSTRUCTION, residual="none", refine=0)
    batch = make_batch(RECONSTRUCTION, 3).to_torch()
    hidden = batch.volumes.hidden.clone()
    hidden[0] = False
    hidden[0, 0, 0, :] = True  # four
    hidden[1] = True  # all of them
    together = model.predict_hidden(batch.volumes.target, hidden)
    for i in range(3):
        torch.testing.assert_close(
            model.predict_hidden(batch.volumes.target[i : i + 1], hidden[i : i + 1])[0],
            together[i],
            atol=1e-5,
            rtol=1e-4,
        )
    assert torch.isfinite(together).all()


def test_the_published_sizes_have_the_published_number_of_parameters():
    model = build(RECONSTRUCTION, preset="paper")
    count = sum(p.numel() for p in model.parameters())
    assert count == model.n_parameters == 34_629_236
    one = sum(p.numel() for p in model.encoder[0].parameters())
    assert count - 5 * one == 27_725_556  # what the public code prints: one layer, applied six times
    optim = SPEC.presets["paper"].pretrain_optim
    assert optim["lr"] == 1e-4 and optim["optimiser"] == "adam" and optim["decay"] == "everything"


def test_patches_go_out_and_come_back():
    volume = torch.arange(2 * 5 * 40 * 30, dtype=torch.float32).view(2, 5, 40, 30)
    cut = patches(volume, (1, 4, 3))
    torch.testing.assert_close(cut[1, 5], volume[1, :, 10:20, 20:30].flatten())
    torch.testing.assert_close(unpatches(cut, (1, 4, 3), (5, 40, 30)), volume)


@pytest.mark.parametrize("shape", [(5, 20, 30), (10, 20, 20), (5, 10, 10)])
@pytest.mark.parametrize("head", ["conv", "linear"])
def test_tiles_of_other_sizes_are_scored(shape, head):
    batch = sample(SEGMENTATION, shape=shape).without_target()
    assert build(head=head).predict(batch).shape == (1, 2, *shape)
    hidden = sample(RECONSTRUCTION, shape=shape).without_target()
    assert build(RECONSTRUCTION).predict(hidden).shape == (1, 1, *shape)


def test_tiles_that_do_not_divide_and_other_grids_of_hidden_tokens_are_refused():
    with pytest.raises(ValueError, match="divide into patches"):
        build().predict(sample(SEGMENTATION, shape=(5, 25, 20)))
    with pytest.raises(ValueError, match="same sizes"):
        build(RECONSTRUCTION).predict(sample(RECONSTRUCTION, token=(5, 20, 20)))
    for wrong in ({"width": 30, "heads": 4}, {"mask_ratio": 0.0}, {"mask": "all"}):
        with pytest.raises(ValueError, match="expected"):
            SPEC.config(**wrong)


def test_the_linear_head_reads_each_token_alone():
    model = build(head="linear")
    batch = sample(SEGMENTATION).to_torch()
    features = model.token_features(batch).clone()
    scores = model.head(features, batch.volumes.values)
    features[0, 0, 1, 2] += 1
    changed = (model.head(features, batch.volumes.values) - scores).abs().amax(dim=(0, 1, 2)) > 0
    assert changed[10:20, 20:30].any()
    changed[10:20, 20:30] = False
    assert not changed.any()


def test_pretraining_lowers_its_loss_and_its_weights_serve_both_tasks(tmp_path):
    model = build()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    batches = [make_batch(SEGMENTATION, 4, f"p{i}").to_torch() for i in range(3)]
    for step in range(60):
        torch.manual_seed(step % 3)  # the same masks again
        loss, _ = model.pretrain_loss(batches[step % 3])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-9:]) < 0.9 * np.mean(losses[:9])
    model.save_pretrained(tmp_path / "w.safetensors", {})
    other = build(RECONSTRUCTION, seed=5)
    other.load_backbone(tmp_path / "w.safetensors")
    batch = make_batch(RECONSTRUCTION).to_torch()
    seen = batch.volumes.values, batch.volumes.hidden
    torch.testing.assert_close(other.predict_hidden(*seen), model.predict_hidden(*seen))


@pytest.mark.parametrize("seed", range(2))
def test_the_smooth_filling_is_close_to_the_exact_one_and_to_a_tile_alone(seed):
    from benchmark.ops.harmonic import inpaint

    batch = make_batch(RECONSTRUCTION, 3, f"s{seed}").to_torch()
    filled = fill(batch.volumes.values, batch.volumes.hidden_voxels)
    alone = fill(batch.volumes.values[1:2], batch.volumes.hidden_voxels[1:2])
    torch.testing.assert_close(filled[1:2], alone)
    exact = inpaint(batch.volumes.values[1].numpy(), batch.volumes.hidden_voxels[1].numpy())
    hidden = batch.volumes.hidden_voxels[1].numpy()
    assert np.abs(filled[1].numpy() - exact)[hidden].mean() < 0.15 * np.abs(exact[hidden]).mean() + 0.05
    ramp = torch.arange(40.0).expand(1, 5, 40, 40)
    hole = torch.zeros(1, 5, 40, 40, dtype=torch.bool)
    hole[..., 10:20] = True
    assert (fill(ramp, hole, 200) - ramp).abs().max() < 0.2
    assert (fill(ramp, torch.ones_like(hole)) == 0).all()
