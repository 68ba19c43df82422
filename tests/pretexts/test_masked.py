"""Masked point modelling: which points are hidden, what becomes of them, and the loss against a plain one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.contracts.pretext import HIDDEN
from benchmark.contracts.pretext_training import PretextTraining
from benchmark.ops.neighbourhoods import descriptors
from benchmark.pretexts._views import hidden_cubes
from benchmark.pretexts.masked import MaskedConfig, build, make_views, standardised
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.batches import inputs_of, make_batch, make_model

SEGMENTATION, CELLS = TASKS["lartpc-segmentation"], TASKS["cell-to-track-binary"]


def draws(n, seed=0):
    return [generator("masked", seed, i) for i in range(n)]


def views(batch, config=None, seed=0):
    return make_views(config or MaskedConfig(), batch, 0.0, draws(batch.n_events, seed))


def test_whole_cubes_are_hidden_and_their_share_is_that_of_the_ratio():
    coords = np.random.default_rng(0).uniform(0, 100, (3000, 3)).astype(np.float32)
    for cube, ratio in ((12.0, 0.5), (30.0, 0.25), (7.0, 0.9)):
        rng = generator("cubes", cube)
        begins = generator("cubes", cube).random(3)  # the lattice's random place
        hidden = hidden_cubes(coords, cube, ratio, rng)
        cells = np.floor(coords.astype(np.float64) / cube + begins)
        share = {tuple(c): hidden[(cells == c).all(axis=1)].mean() for c in np.unique(cells, axis=0)}
        assert set(share.values()) <= {0.0, 1.0}
        assert sum(share.values()) == round(ratio * len(share))


def test_the_lattice_moves_and_other_cubes_are_hidden_at_every_draw():
    coords = np.random.default_rng(0).uniform(0, 60, (500, 3)).astype(np.float32)
    masks = [hidden_cubes(coords, 12.0, 0.5, rng) for rng in draws(400)]
    often = np.mean(masks, axis=0)
    assert often.min() > 0.35 and often.max() < 0.65  # every point is hidden about as often
    together = np.mean([m[0] == m for m in masks], axis=0)
    near = np.linalg.norm(coords - coords[0], axis=1)
    assert together[near < 4].mean() > 0.75 > 0.6 > together[near > 25].mean()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_smallest_events_hide_at_least_one_point(n):
    hidden = hidden_cubes(np.zeros((n, 3), np.float32), 12.0, 0.5, generator("small"))
    assert hidden.shape == (n,) and hidden.all()
    few = hidden_cubes(np.arange(6, dtype=np.float32).reshape(2, 3) * 50, 1.0, 0.01, generator("small"))
    assert few.sum() == 1


@pytest.mark.parametrize("task", [SEGMENTATION, CELLS], ids=lambda t: t.name)
def test_hidden_points_lose_features_and_place_and_the_others_nothing(task):
    batch, config = make_batch(task), MaskedConfig(cube=6.0, noise=1.5, radii=(3.0,))
    made = views(batch, config)
    hidden = made.views.hidden
    assert 0.2 < hidden.mean() < 0.8
    assert made.columns == (*batch.columns, HIDDEN)
    np.testing.assert_array_equal(made.column(HIDDEN), hidden)
    assert not made.feats[hidden, :-1].any() and not made.energy[hidden].any()
    for name in ("coords", "energy"):
        np.testing.assert_array_equal(getattr(made, name)[~hidden], getattr(batch, name)[~hidden])
    np.testing.assert_array_equal(made.feats[~hidden, :-1], batch.feats[~hidden])
    np.testing.assert_array_equal(made.views.coords, batch.coords)
    moved = made.coords[hidden] - batch.coords[hidden]
    assert 1.2 < moved.std() < 1.8 and abs(moved.mean()) < 0.25
    assert made.target is None and not made.point_info and not made.event_info
    targets, n = made.views.targets[hidden], batch.feats.shape[1]
    np.testing.assert_array_equal(targets[:, :n], batch.feats[hidden])
    np.testing.assert_allclose(targets[:, n : n + 3] * -1.5, moved, atol=1e-4)
    assert targets.shape == (hidden.sum(), n + 3 + 4)
    for event in range(batch.n_events):  # of the clean event, in its own event
        rows = np.arange(batch.offsets[event], batch.offsets[event + 1])
        around = descriptors(batch.coords[rows][hidden[rows]], batch.coords[rows], batch.energy[rows], 3.0)
        np.testing.assert_array_equal(made.views.targets[rows][hidden[rows]][:, n + 3 :], around)


def test_links_between_visible_points_remain_and_none_of_a_hidden_one():
    batch = make_batch(CELLS)
    made = views(batch, MaskedConfig(cube=4.0, ratio=0.3))
    hidden = made.views.hidden
    assert 0 < len(made.links.ends) < len(batch.links.ends)
    assert not hidden[made.links.ends].any()
    expected = [(*e, k) for e, k in zip(batch.links.ends, batch.links.kind, strict=True) if not hidden[e].any()]
    assert [(*e, k) for e, k in zip(made.links.ends, made.links.kind, strict=True)] == expected


def test_without_noise_points_stay_and_the_way_back_is_nought():
    batch = make_batch(SEGMENTATION)
    made = views(batch, MaskedConfig(noise=0.0))
    np.testing.assert_array_equal(made.coords, batch.coords)
    assert not made.views.targets[:, 1:4].any()


def test_standardised_columns_have_mean_0_and_deviation_1():
    values = np.random.default_rng(3).normal(5, 3, (400, 4)).astype(np.float32)
    values[:, 2] = 7.25  # equal in all rows
    found = standardised(torch.from_numpy(values)).numpy()
    exact = values.astype(np.float64)
    deviation = exact.std(axis=0)
    expected = np.where(deviation > 0, (exact - exact.mean(axis=0)) / np.where(deviation > 0, deviation, 1), 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not standardised(torch.from_numpy(values[:1])).numpy().any()  # a single hidden point


@pytest.mark.parametrize(
    "config",
    [MaskedConfig(hidden_width=16), MaskedConfig(radii=(5.0,), hidden_width=0, feature_weight=0.25,
                                                 displacement_weight=2.0, descriptor_weight=0.5)],
)  # fmt: skip
@pytest.mark.parametrize("task", [SEGMENTATION, CELLS], ids=lambda t: t.name)
def test_the_loss_equals_a_plain_one(config, task):
    batch = make_batch(task)
    made = views(batch, config)
    model = make_model("pointnet", task, hidden=True)
    torch.manual_seed(0)
    trained = PretextTraining(model, build(config, model, inputs_of(task))).eval()
    tensors = made.to_torch()
    with torch.no_grad():
        loss, parts = trained.pretrain_loss(tensors)
        features = model.point_features(tensors).numpy().astype(np.float64)
    state = {k: v.numpy().astype(np.float64) for k, v in trained.pretext.predictor.state_dict().items()}
    x = features[made.views.hidden]
    if config.hidden_width:
        x = x @ state["0.weight"].T + state["0.bias"]
        x = 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))  # GELU
        x = x @ state["2.weight"].T + state["2.bias"]
    else:
        x = x @ state["weight"].T + state["bias"]
    true = made.views.targets[made.views.hidden].astype(np.float64)
    deviation = true.std(axis=0)
    true = (true - true.mean(axis=0)) / np.maximum(deviation, 1e-6)
    error = np.abs(x - true)
    huber = np.where(error < 1, 0.5 * error**2, error - 0.5)
    c, n = config, batch.feats.shape[1]
    sizes = [("features", n, c.feature_weight), ("displacement", 3, c.displacement_weight)]
    sizes += [(f"around {radius:g}", 4, c.descriptor_weight) for radius in c.radii]
    total, first = 0.0, 0
    for name, size, weight in sizes:
        mean = huber[:, first : first + size].mean()
        assert parts[name].item() == pytest.approx(mean, rel=1e-6, abs=1e-6)
        total, first = total + weight * mean, first + size
    assert loss.item() == pytest.approx(total, rel=1e-6, abs=1e-6)


def test_visible_points_do_not_enter_the_loss():
    batch = make_batch(SEGMENTATION)
    made, model = views(batch), make_model("pointnet", SEGMENTATION, hidden=True)
    trained = PretextTraining(model, build(MaskedConfig(), model, inputs_of(SEGMENTATION))).eval()
    other = made.views.targets.copy()
    other[~made.views.hidden] = 1e6
    losses = [
        trained.pretrain_loss(replace(made, views=replace(made.views, targets=t)).to_torch())[0].item()
        for t in (made.views.targets, other)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "wrong",
    [{"cube": 0.0}, {"noise": -1.0}, {"radii": (4.0, 0.0)}, {"ratio": 0.0}, {"ratio": 1.0}, {"feature_weight": -1.0},
     {"hidden_width": -1}, {"feature_weight": 0.0, "displacement_weight": 0.0, "descriptor_weight": 0.0}],
)  # fmt: skip
def test_settings_that_are_not_possible_are_told(wrong):
    with pytest.raises(ValueError, match=r"possible.*expected"):
        MaskedConfig(**wrong)


def test_on_a_calorimeter_lengths_are_those_of_cells():
    spec = registry.pretext_spec("masked")
    assert spec.preset("default", "calorimeter").pretext["cube"] < spec.config().cube
