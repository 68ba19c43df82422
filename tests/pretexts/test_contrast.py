"""Contrast against a plain InfoNCE."""

import numpy as np
import pytest
import torch

from builders.pretexts import nearest, settings_of, training_of, views_of


def test_the_loss_is_infonce_of_all_pairs_in_both_directions():
    training, views = training_of("deep_sets", "contrast", pairs=100_000), views_of("contrast").to_torch()
    training.eval()
    loss, parts = training.pretrain_loss(views)
    features = training.pretext.projector(training.model.point_features(views)).detach().double().numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    coords, offsets = views.views.coords.numpy(), views.offsets.numpy()
    one, other = [], []
    for view in range(0, views.n_events, 2):
        a, b = (slice(offsets[v], offsets[v + 1]) for v in (view, view + 1))
        near, row = nearest(coords[a], coords[b], settings_of("contrast").match_radius)
        one.append(features[a][near])
        other.append(features[b][row])
    one, other = np.concatenate(one), np.concatenate(other)
    logits = one @ other.T / settings_of("contrast").temperature
    rows = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    columns = np.log(np.exp(logits).sum(axis=0)) - np.diag(logits)
    assert loss.item() == pytest.approx((rows.mean() + columns.mean()) / 2, abs=1e-4)
    assert 0 <= float(parts["found"]) <= 1


def test_views_without_a_pair_have_no_loss_but_a_gradient():
    training, views = training_of("deep_sets", "contrast", match_radius=1e-6), views_of("contrast").to_torch()
    moved = views.views.coords + torch.arange(views.n_points)[:, None] * 10.0
    from dataclasses import replace

    apart = replace(views, views=replace(views.views, coords=moved))
    loss, _ = training.pretrain_loss(apart)
    loss.backward()
    assert loss.item() == 0
