"""Self-distillation against a plain re-implementation, its views and masks, and the end of a collapse."""

import math

import numpy as np
import pytest
import torch

from benchmark.contracts.pretext import HIDDEN
from benchmark.errors import BenchmarkError
from benchmark.pretexts._views import GLOBAL, LOCAL, some_views
from benchmark.pretexts.distillation import hide, sinkhorn
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from builders.batches import make_batch
from builders.pretexts import TASK, nearest, settings_of, training_of, views_of


def plain_sinkhorn(scores, temperature, rounds):
    """Rows and columns of exp(s / t) in turn, in numpy's float64."""
    q = np.exp(np.asarray(scores, np.float64) / temperature)
    for _ in range(rounds):
        q = q / q.sum(axis=0, keepdims=True)
        q = q / q.sum(axis=1, keepdims=True)
    return q


def plain_scores(head, features):
    """Perceptron with GELU, norm 1, cosines with the prototypes."""
    first, last = head.perceptron[0], head.perceptron[2]
    hidden = features.double() @ first.weight.double().T + first.bias.double()
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    out = hidden @ last.weight.double().T + last.bias.double()
    prototypes = head.prototypes.double()
    return (out / out.norm(dim=1, keepdim=True)) @ (prototypes / prototypes.norm(dim=1, keepdim=True)).T


def plain_loss(training, views, seed, progress):
    """The three losses of one step, view by view."""
    pretext, config = training.pretext, training.pretext.config
    n_large = int((views.views.kind == GLOBAL).sum())
    grown = min(1.0, progress / config.warmup)
    low, high = config.teacher_temperature
    temperature = low + grown * (high - low)
    torch.manual_seed(seed)
    masked_batch = hide(some_views(views, 0, n_large), config.mask_jitter)
    features = training.model.point_features(masked_batch)
    teacher_features = pretext.teacher.point_features(some_views(views, 0, n_large))
    local_features = training.model.point_features(some_views(views, n_large, views.n_events))
    coords, offsets = views.views.coords.numpy(), views.offsets.numpy()

    def cross_entropy(student, targets, of_student, of_teacher, shift=0):
        """Of one view of the student with one of the teacher; None without a match."""
        a, b = (slice(int(offsets[v]), int(offsets[v + 1])) for v in (of_student, of_teacher))
        near, row = nearest(coords[a], coords[b], config.match_radius)
        log_p = torch.log_softmax(student[a.start - shift : a.stop - shift] / config.student_temperature, dim=1)
        q = torch.from_numpy(targets[b])[row]
        return -(q * log_p[near]).sum(dim=1).mean() if len(near) else None

    def mean(losses):
        return torch.stack([x for x in losses if x is not None]).mean()

    scores = plain_scores(pretext.heads["masked"], features)
    local_scores = plain_scores(pretext.heads["local"], local_features)
    targets, local_targets = (
        plain_sinkhorn(plain_scores(pretext.teacher_heads[name], teacher_features).detach(), temperature, 3)
        for name in ("masked", "local")
    )
    own = mean([cross_entropy(scores, targets, v, v) for v in range(n_large)])
    other = mean([cross_entropy(scores, targets, v, v ^ 1) for v in range(n_large)])
    start = int(offsets[n_large])
    local = mean([
        cross_entropy(local_scores, local_targets, n_large + i, i // config.n_local * 2, shift=start)
        for i in range(views.n_events - n_large)
    ])  # fmt: skip
    return {"own": own, "other": other, "local": local}


@pytest.fixture
def step():
    """A training with a teacher that differs from the student, and a batch of views."""
    training = training_of("deep_sets", "distillation", prototypes=24)
    training.train()
    with torch.no_grad():
        for parameter in training.pretext.heads.parameters():
            parameter.mul_(20)  # scores that are not all alike
        for parameter in (*training.pretext.teacher.parameters(), *training.pretext.teacher_heads.parameters()):
            parameter.add_(0.2 * torch.randn_like(parameter))
    return training, views_of("distillation").to_torch()


def test_one_step_is_that_of_a_plain_implementation(step):
    training, views = step
    expected = plain_loss(training, views, 5, 0.02)
    training.before_step(0.02)
    torch.manual_seed(5)
    loss, parts = training.pretrain_loss(views)
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(float(value), abs=1e-5)
    assert float(loss) == pytest.approx(
        float(0.25 * expected["own"] + 0.25 * expected["other"] + 0.5 * expected["local"]), abs=1e-5
    )


def test_gradients_reach_the_student_alone(step):
    training, views = step
    training.pretrain_loss(views)[0].backward()
    assert all(p.grad is not None for m in training.model.backbone() for p in m.parameters())
    assert all(p.grad is not None for p in training.pretext.heads.parameters())
    assert all(p.grad is None for m in training.pretext.not_trained() for p in m.parameters())


def test_the_teacher_moves_by_a_momentum_that_rises_as_a_cosine():
    training = training_of("deep_sets", "distillation", momentum=(0.9, 1.0))
    pretext = training.pretext
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.add_(1.0)
    before = {name: p.clone() for name, p in pretext.teacher.named_parameters()}
    ours = dict(training.model.named_parameters())
    with torch.no_grad():
        training.after_step(0.5)
    for name, parameter in pretext.teacher.named_parameters():
        torch.testing.assert_close(parameter, 0.95 * before[name] + 0.05 * ours[name])
    held = {name: p.clone() for name, p in pretext.teacher.named_parameters()}
    with torch.no_grad():
        training.after_step(1.0)
    assert all(torch.equal(p, held[name]) for name, p in pretext.teacher.named_parameters())


def test_sinkhorn_is_the_plain_one_and_balances_the_prototypes():
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 8)).clip(-1, 1).astype(np.float32))
    scores[:, 0] += 0.5  # without it, most points would choose the first
    found = sinkhorn(scores.clamp(max=1), 0.07, 3)
    np.testing.assert_allclose(found, plain_sinkhorn(scores.clamp(max=1), 0.07, 3), atol=1e-5)
    np.testing.assert_allclose(found.sum(dim=1), 1, atol=1e-5)
    converged = sinkhorn(scores.clamp(max=1), 0.07, 200)
    np.testing.assert_allclose(converged.sum(dim=0), 200 / 8, rtol=0.02)


def test_large_views_come_first_and_every_view_knows_its_event_and_origin():
    batch = make_batch(TASK)
    views = views_of("distillation", batch)
    kinds, events = views.views.kind, views.views.event
    assert kinds.tolist() == [GLOBAL] * 6 + [LOCAL] * 6
    assert events.tolist() == [0, 0, 1, 1, 2, 2] * 2
    assert views.event_ids == tuple(batch.event_ids[e] for e in events)
    for view, event in enumerate(events):
        n_all = int(batch.lengths[event])
        own = batch.coords[batch.offsets[event] : batch.offsets[event + 1]]
        rows = slice(views.offsets[view], views.offsets[view + 1])
        assert {tuple(c) for c in views.views.coords[rows]} <= {tuple(c) for c in own}
        share = int(views.lengths[view]) / n_all
        assert 0.38 < share <= 1 if kinds[view] == GLOBAL else 0.08 < share < 0.42


def test_a_view_keeps_distances_up_to_its_jitter_and_lies_in_the_detector():
    batch = make_batch(TASK)
    views = views_of("distillation", batch, jitter=0.0)
    for view in range(views.n_events):
        rows = slice(views.offsets[view], views.offsets[view + 1])
        seen, origin = views.coords[rows].astype(np.float64), views.views.coords[rows].astype(np.float64)
        np.testing.assert_allclose(
            np.linalg.norm(seen - seen[0], axis=1), np.linalg.norm(origin - origin[0], axis=1), atol=1e-3
        )
        np.testing.assert_allclose(seen.mean(axis=0), batch.frame.centre, atol=1e-3)
    jittered = views_of("distillation", batch)
    assert 0 < np.abs(jittered.coords - views.coords).max() <= 1 + 1e-4  # the limit


def test_the_share_of_hidden_cubes_rises_over_the_warmup():
    early, late = (views_of("distillation", progress=p, mask_cube=(2.0, 2.0)) for p in (0.0, 1.0))
    assert not early.views.hidden[early.offsets[6] :].any()  # small views hide nothing
    shares = [v.views.hidden[: v.offsets[6]].mean() for v in (early, late)]
    assert 0.2 < shares[0] < 0.4 < shares[1] < 0.7


def test_hidden_points_lose_their_features_and_move():
    views = views_of("distillation").to_torch()
    large = some_views(views, 0, 6)
    torch.manual_seed(0)
    seen = hide(large, 0.5)
    hidden = large.views.hidden
    column = seen.columns.index(HIDDEN)
    assert torch.equal(seen.feats[:, column] == 1, hidden)
    assert (seen.feats[hidden][:, :column] == 0).all() and (seen.energy[hidden] == 0).all()
    assert torch.equal(seen.feats[~hidden], large.feats[~hidden])
    moved = (seen.coords != large.coords).any(dim=1)
    assert torch.equal(moved, hidden)


def test_energies_of_large_views_share_one_scale():
    batch = make_batch(TASK)
    views = views_of("distillation", batch, energy_probability=1.0, energy_jitter=0.5)
    for event in range(3):
        known = {tuple(c): e for c, e in zip(batch.coords, batch.energy, strict=True)}
        ratios = []
        for view in np.flatnonzero(views.views.event == event):
            rows = slice(views.offsets[view], views.offsets[view + 1])
            true = np.array([known[tuple(c)] for c in views.views.coords[rows]])
            ratios.append(views.energy[rows] / true)
        first, second, *small = ratios
        assert np.ptp(np.concatenate([first, second])) < 1e-5 and abs(first[0] - 1) > 1e-3
        assert all(np.allclose(r, 1) for r in small)


def test_a_collapse_ends_with_one_sentence():
    training = training_of("deep_sets", "distillation", least_spread=0.5)
    views = views_of("distillation").to_torch()
    with torch.no_grad():
        for parameter in training.pretext.heads["masked"].perceptron[2].parameters():
            parameter.zero_()
        training.pretext.heads["masked"].perceptron[2].bias.fill_(1.0)
    training.train()
    loss, parts = training.pretrain_loss(views)
    assert math.isfinite(float(loss)) and float(parts["spread"]) < 1e-3
    with pytest.raises(BenchmarkError, match="has collapsed") as error, torch.no_grad():
        for _ in range(50):
            training.after_step(0.5)
    assert str(error.value).count("\n") == 0


def test_the_published_settings():
    config = resolve(Request("panda", preset="paper", dataset="pilarnet-m", pretrain=True))
    pretext, optim = config.pretext_config, config.pretrain_optim
    assert config.pretext == "distillation"
    assert (pretext.n_global, pretext.n_local, pretext.prototypes, pretext.bottleneck) == (2, 6, 4096, 256)
    voxel = 0.0015035
    assert [round(edge * voxel, 4) for edge in pretext.mask_cube] == [0.01, 0.075]
    assert pretext.mask_ratio == (0.5, 0.9) and pretext.momentum == (0.994, 1.0)
    assert pretext.teacher_temperature == (0.04, 0.07) and pretext.student_temperature == 0.1
    assert (pretext.own_weight, pretext.other_weight, pretext.local_weight) == (0.25, 0.25, 0.5)
    assert (optim.lr, optim.weight_decay, optim.final_weight_decay, optim.layer_decay) == (2.6e-3, 0.04, 0.2, 0.9)
    assert config.pretrain.steps * config.pretrain.batch_size == pytest.approx(100e6, rel=1e-5)


def test_settings_that_are_not_possible_are_refused():
    with pytest.raises(BenchmarkError, match="mask_ratio"):
        settings_of("distillation", mask_ratio=(0.5, 1.0))
    with pytest.raises(BenchmarkError, match="global_share"):
        settings_of("distillation", global_share=(0.9, 0.4))
