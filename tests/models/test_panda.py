"""Panda: sizes of the published encoder, its read-outs by mode, and what stages hand back."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from benchmark import registry
from benchmark.contracts import Inputs
from benchmark.contracts.pretext import HIDDEN
from benchmark.datasets._pilarnet import FRAME
from benchmark.models.panda import PandaConfig, handed_back
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.sparse import voxelise
from benchmark.tasks import TASKS
from builders.batches import make_batch
from builders.pretexts import TASK, training_of, views_of

FIVE = TASKS["lartpc-segmentation-5"]


def paper(mode, columns=("log_energy", HIDDEN)):
    config = resolve(Request("panda", FIVE.name, "pilarnet-m", preset="paper", mode=mode))
    with torch.device("meta"):
        return registry.model_spec("panda").build(config.model_config, Inputs(columns, FRAME), FIVE)


def encoder_size(n_in=4):
    """Parameters by hand: stem, blocks, maps down, and the token of hidden voxels."""
    depths, widths = (3, 3, 3, 9, 3), (48, 96, 192, 384, 512)
    total = n_in * 48 + 48 + 2 * 48 + 48  # linear map, layer norm; token
    for depth, w in zip(depths, widths, strict=True):
        position = 27 * w * w + w + w * w + w + 2 * w  # convolution, linear map, norm
        attention = 2 * w + 3 * w * w + 3 * w + w * w + w  # norm, qkv, projection
        perceptron = 2 * w + 4 * w * w + 4 * w + 4 * w * w + w
        total += depth * (position + attention + perceptron + 2 * w)  # and two scales
    for a, b in pairwise(widths):
        total += a * b + b + 2 * b
    return total


def test_the_published_encoder_has_the_size_of_its_parts():
    model = paper("fft")
    assert sum(p.numel() for m in model.backbone() for p in m.parameters()) == encoder_size()


def test_modes_read_1232_channels_or_a_decoder_and_pretraining_reads_1088():
    frozen, tuned = paper("frozen"), paper("peft")
    assert frozen.head.in_features == 48 + 96 + 192 + 384 + 512 == 1232
    assert tuned.head.in_features == 64
    assert frozen.place_width == tuned.place_width == 1088
    assert len(frozen.network.decoder) == 0 and len(tuned.network.decoder) == 4
    config = resolve(Request("panda", preset="paper", dataset="pilarnet-m", mode="fft"))
    assert config.optim.backbone_lr_scale == 0.05
    assert resolve(Request("panda", preset="paper", dataset="pilarnet-m", mode="scratch")).pretext is None


def test_stages_are_handed_back_to_the_finest():
    coords = torch.randint(0, 40, (200, 3), generator=torch.Generator().manual_seed(0)).float()
    from benchmark.baselines._ptv3_levels import Level

    sites, _ = voxelise(coords, torch.zeros(200, dtype=torch.int64), 1)
    finest = Level.finest(sites, ("z",), False, 3)
    levels = [finest, finest.coarser, finest.coarser.coarser]
    stages = [level.sites.coords[:, 1:].float() for level in levels]
    handed = handed_back(stages, finest)
    own, first, second = handed.split(3, dim=1)
    assert torch.equal(first, torch.div(own, 2, rounding_mode="floor"))
    assert torch.equal(second, torch.div(own, 4, rounding_mode="floor"))


def test_a_hidden_voxel_shows_the_token_and_nothing_of_its_points():
    training = training_of("panda", "distillation").eval()
    batch = make_batch(TASK).to_torch()
    hidden = torch.ones_like(batch.feats[:, :1])
    other = replace(batch, feats=torch.cat([batch.feats * 3 + 1, hidden], 1), columns=(*batch.columns, HIDDEN))
    one = replace(other, feats=torch.cat([batch.feats, hidden], 1))
    with torch.no_grad():
        assert torch.equal(training.model.point_features(one), training.model.point_features(other))
        seen = training.model.point_features(batch)
        assert not torch.equal(seen, training.model.point_features(one))


def test_places_are_coarser_voxels_whose_rows_the_points_know():
    training = training_of("panda", "distillation").eval()
    batch = views_of("distillation").to_torch()
    with torch.no_grad():
        features, row = training.model.place_features(batch)
    assert features.shape[1] == training.model.place_width
    assert row.shape == (batch.n_points,) and int(row.max()) == len(features) - 1 < batch.n_points - 1
    event = torch.zeros(len(features), dtype=torch.int64).index_copy(0, row, batch.event_index)
    assert torch.equal(event[row], batch.event_index)  # no place is shared by two views


def test_only_the_encoder_is_fixed_and_written():
    training = training_of("panda", "distillation")
    names = set(training.model.backbone_state())
    assert all(n.startswith(("network.stem", "network.encoder", "network.down", "mask_token")) for n in names)
    assert "mask_token.weight" in names


def test_up_levels_beyond_the_stages_are_refused():
    with pytest.raises(ValueError, match="up_levels=5"):
        PandaConfig(up_levels=5)
