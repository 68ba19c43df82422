"""Every pretext x every backbone of points keeps the contract; new files are tested without a line here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.contracts import Links, PointBatch
from benchmark.contracts.parts import Views
from benchmark.contracts.pretext import HIDDEN
from benchmark.contracts.pretext_training import PretextTraining
from benchmark.contracts.safetensors_io import read_safetensors
from benchmark.data.preparation import preparation
from benchmark.errors import MissingPackageError
from benchmark.runs.config import Request
from benchmark.runs.resolve import can_do, resolve
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.batches import DATASETS, inputs_of, make_batch, make_model, warmed_up
from builders.models import models, skipped

TOLERANCE = 2e-4  # float32 sums in another order
TASK_NAMES = ("lartpc-segmentation", "cell-to-track-binary", "pion-classification")
PRETEXTS = registry.pretext_names()


def cases():
    """A parameter per backbone and task; one that is skipped where a package that it needs is missing."""
    found = []
    for parameter in models(lambda spec: spec.has_point_features):
        (name,) = parameter.values[:1]
        try:
            spec = registry.model_spec(name)
        except MissingPackageError as error:
            found.append(skipped(error, name, None))
            continue
        fitting = [TASKS[t] for t in TASK_NAMES if can_do(spec, TASKS[t])]
        found += [pytest.param(name, task, id=f"{name}-{task.name}") for task in fitting]
    return found


CASES = cases()
OF_EVENTS = [case for case in CASES if case.values[1] is not None and case.values[1].level == "event"]
of_models = pytest.mark.parametrize(("name", "task"), CASES)
ON_POINTS = [case for case in CASES if case.values[1] is None or case.values[1].name == TASK_NAMES[0]]
of_pretexts = pytest.mark.parametrize("pretext", PRETEXTS)
of_tasks = pytest.mark.parametrize("task", [TASKS[t] for t in TASK_NAMES], ids=TASK_NAMES)


def settings(pretext, task):
    """The pretext's settings of the preset `tiny`."""
    asked = Request("deep_sets", task.name, DATASETS[task.detector], preset="tiny", pretext=pretext)
    return resolve(asked).pretext_config


def rescale_of(task):
    return getattr(preparation(task), "rescaled", None)


def draws(batch, seed=0):
    return [generator("conformance", "views", seed, i) for i in range(batch.n_events)]


def views_of(pretext, task, seed=0, batch=None, progress=0.3):
    batch = make_batch(task) if batch is None else batch
    spec, config = registry.pretext_spec(pretext), settings(pretext, task)
    return spec.make_views(config, batch, progress, draws(batch, seed), rescale_of(task))


def training(pretext, name, task, seed=0):
    """Backbone and pretext, as they are trained."""
    model = make_model(name, task, seed, hidden=True)
    return PretextTraining(model, registry.pretext_spec(pretext).build(settings(pretext, task), model, inputs_of(task)))


def features(model, batch):
    """(N, width) in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        return model.point_features(batch.to_torch()).numpy()


def rows_of(batch, rows, events):
    """The points `rows` of a batch of views, as the given views; links follow."""
    arrays = {n: getattr(batch, n)[rows] for n in ("coords", "energy", "feats")}
    place = np.full(batch.n_points, -1)
    place[rows] = np.arange(len(rows))
    links = batch.links
    if links.ends is not None:
        kept = (place[links.ends] >= 0).all(axis=1)
        links = Links(place[links.ends[kept]], links.kind[kept])
    whole = batch.whole
    if whole.feats is not None:
        whole = dataclasses.replace(whole, feats=whole.feats[events], baseline=None, auxiliary=None)
    lengths = batch.lengths[events]
    return dataclasses.replace(
        batch, **arrays, offsets=np.concatenate([[0], np.cumsum(lengths)]), links=links, whole=whole, views=Views(),
        event_ids=tuple(batch.event_ids[e] for e in events),
    )  # fmt: skip


def test_there_is_a_pretext():
    assert "masked" in PRETEXTS and len(CASES) > 15


@of_pretexts
def test_what_is_said_of_it_is_complete(pretext):
    spec = registry.pretext_spec(pretext)
    assert spec.name == pretext and spec.summary.strip() and spec.reference.strip()
    assert {"default", "tiny"} <= set(spec.presets)
    assert dataclasses.is_dataclass(spec.config) and spec.config() == spec.config()


@of_pretexts
@of_models
def test_the_loss_is_finite_and_its_gradient_reaches_the_whole_backbone(pretext, name, task):
    """Of the model, the head alone is not reached; of the pretext, what it says it does not train."""
    trained = training(pretext, name, task)
    trained.train()
    trained.before_step(0.3)
    torch.manual_seed(1)
    loss, parts = trained.pretrain_loss(views_of(pretext, task).to_torch())
    loss.backward()
    assert loss.ndim == 0 and torch.isfinite(loss)
    assert parts and all(torch.isfinite(part) for part in parts.values())
    fixed = {id(p) for module in trained.pretext.not_trained() for p in module.parameters()}
    assert not any(p.requires_grad for p in trained.parameters() if id(p) in fixed)
    backbone = {id(p) for module in trained.backbone() for p in module.parameters()}
    for key, parameter in trained.named_parameters():
        if id(parameter) in fixed:
            assert parameter.grad is None, key
        elif id(parameter) in backbone or key.startswith("pretext."):
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        else:
            assert parameter.grad is None, f"{key} is no part of the backbone"
    with torch.no_grad():
        trained.after_step(0.4)


@of_pretexts
@pytest.mark.parametrize(("name", "task"), ON_POINTS)
def test_training_on_it_lowers_the_loss(pretext, name, task):
    trained = training(pretext, name, task)
    batch = views_of(pretext, task).to_torch()
    optimiser = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=3e-3)
    trained.train()
    losses = []
    for step in range(12):
        torch.manual_seed(step)
        trained.before_step(step / 12)
        optimiser.zero_grad()
        loss, _ = trained.pretrain_loss(batch)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            trained.after_step((step + 1) / 12)
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    if not list(trained.pretext.not_trained()):  # a teacher's targets move
        assert np.mean(losses[-3:]) < np.mean(losses[:3])


@of_pretexts
@of_tasks
def test_views_are_made_from_their_seeds_alone(pretext, task):
    batch = make_batch(task)
    untouched = batch.map_arrays(np.copy)
    first, again, other = (views_of(pretext, task, seed, batch) for seed in (0, 0, 1))
    np.testing.assert_equal(content(first), content(again))
    assert first.coords.shape != other.coords.shape or not np.array_equal(first.coords, other.coords)
    np.testing.assert_equal(content(batch), content(untouched))


@of_pretexts
@of_tasks
def test_an_events_views_do_not_depend_on_the_other_events(pretext, task):
    batch = make_batch(task)
    together = views_of(pretext, task, batch=batch)
    alone = registry.pretext_spec(pretext).make_views(
        settings(pretext, task), make_batch(task, sizes=(90,)), 0.3, draws(batch)[:1], rescale_of(task)
    )
    mine = np.flatnonzero(together.views.event == 0)
    rows = np.concatenate([np.arange(together.offsets[e], together.offsets[e + 1]) for e in mine])
    np.testing.assert_array_equal(together.coords[rows], alone.coords)
    np.testing.assert_array_equal(together.feats[rows], alone.feats)
    np.testing.assert_array_equal(together.views.coords[rows], alone.views.coords)


@of_pretexts
@of_tasks
def test_views_keep_the_contract_of_a_batch(pretext, task):
    batch, made = make_batch(task), views_of(pretext, task)
    n, n_views = made.n_points, made.n_events
    assert made.columns == (*batch.columns, HIDDEN)
    assert made.coords.shape == (n, 3) and made.feats.shape == (n, len(made.columns)) and made.energy.shape == (n,)
    assert made.coords.dtype == made.feats.dtype == made.energy.dtype == np.float32
    assert made.offsets[0] == 0 and made.offsets[-1] == n and (np.diff(made.offsets) > 0).all()
    assert made.offsets.dtype == np.int64 and len(made.offsets) == n_views + 1
    assert np.isfinite(made.coords).all() and np.isfinite(made.feats).all() and np.isfinite(made.energy).all()
    assert made.target is None and made.instance is None and made.whole.auxiliary is None
    if batch.whole.feats is not None:
        np.testing.assert_array_equal(made.whole.feats, batch.whole.feats[made.views.event])
    if made.links.ends is not None:
        view = made.event_index
        assert (view[made.links.ends[:, 0]] == view[made.links.ends[:, 1]]).all()
    assert made.views.event.shape == made.views.kind.shape == (n_views,)
    assert set(made.views.event) == set(range(batch.n_events))
    of_point = made.views.event[made.event_index]
    for event in range(batch.n_events):  # every point of a view is one of its event
        clean = {tuple(c) for c in batch.coords[batch.offsets[event] : batch.offsets[event + 1]]}
        assert {tuple(c) for c in made.views.coords[of_point == event]} <= clean
    if made.column(HIDDEN).any():
        np.testing.assert_array_equal(made.column(HIDDEN), made.views.hidden)


@of_pretexts
@of_tasks
def test_what_is_hidden_of_a_point_is_nowhere_in_what_the_model_reads(pretext, task):
    """Points that are hidden in every view get other energies and features: all but targets stays as it was."""
    batch = make_batch(task)
    made = views_of(pretext, task, batch=batch)
    if not made.column(HIDDEN).any():
        pytest.skip(f"{pretext} hides nothing before its loss, which shows the views whole to a teacher")
    of_point = made.views.event[made.event_index]
    changed = batch.map_arrays(np.copy)
    n_changed = 0
    for event in range(batch.n_events):
        mine = of_point == event
        visible = {tuple(c) for c in made.views.coords[mine & ~made.views.hidden]}
        for row in range(batch.offsets[event], batch.offsets[event + 1]):
            if tuple(batch.coords[row]) not in visible:
                changed.energy[row] *= 7
                changed.feats[row] += 3
                for values in changed.point_info.values():
                    values[row] = values[row] + 1
                n_changed += 1
    if not n_changed:
        pytest.skip(f"{pretext} shows every point in one of its views")
    again = views_of(pretext, task, batch=changed)
    seen, seen_again = (content(dataclasses.replace(b, views=Views())) for b in (made, again))
    np.testing.assert_equal(seen, seen_again)


@of_models
def test_the_backbone_reads_no_label_no_target_and_no_quantity_in_other_units(name, task):
    made, model = views_of("masked", task), warmed_up(name, task, hidden=True)
    expected = features(model, made)
    rng = generator("conformance", "noise")
    noise = rng.normal(size=made.n_points).astype(np.float32)
    disturbed = dataclasses.replace(
        made, views=Views(), target=np.zeros(made.n_points, np.int64), instance=np.arange(made.n_points),
        point_info={key: noise for key in make_batch(task).point_info},
    )  # fmt: skip
    np.testing.assert_array_equal(features(model, disturbed), expected)


@pytest.mark.parametrize(("name", "task"), OF_EVENTS)
def test_on_tasks_of_events_no_feature_of_the_whole_event_reaches_the_points(name, task):
    """A cluster's energy is the sum of its cells': with it, a hidden cell's energy would follow from the others.

    On tasks of points they do, but are those of a track, to which no cell adds.
    """
    made, model = views_of("masked", task), warmed_up(name, task, hidden=True)
    other = dataclasses.replace(made, whole=dataclasses.replace(made.whole, feats=made.whole.feats + 1))
    np.testing.assert_array_equal(features(model, other), features(model, made))


@of_models
def test_features_are_independent_of_batch_mates_and_of_the_order_of_points(name, task):
    made, model = views_of("masked", task), warmed_up(name, task, hidden=True)
    together = features(model, made)
    assert together.shape == (made.n_points, model.feature_width) and np.isfinite(together).all()
    rng = generator("conformance", "order")
    for view in (0, made.n_events - 1):
        rows = np.arange(made.offsets[view], made.offsets[view + 1])
        shuffled = rng.permutation(rows)
        for chosen in (rows, shuffled):
            alone = features(model, rows_of(made, chosen, [view]))
            np.testing.assert_allclose(alone, together[chosen], atol=TOLERANCE, rtol=TOLERANCE)


@of_models
def test_without_hidden_points_the_column_of_hidden_ones_changes_no_score(name, task):
    model, batch = warmed_up(name, task, hidden=True), make_batch(task).without_target()
    zeros = np.zeros((batch.n_points, 1), np.float32)
    with_column = dataclasses.replace(
        batch, feats=np.concatenate([batch.feats, zeros], axis=1), columns=(*batch.columns, HIDDEN)
    )
    np.testing.assert_array_equal(model.predict(with_column), model.predict(batch))
    ones = dataclasses.replace(
        with_column, feats=np.concatenate([batch.feats, zeros + 1], axis=1)
    )  # the column is read, though
    assert not np.array_equal(model.predict(ones), model.predict(batch))


@of_pretexts
@pytest.mark.parametrize(("name", "task"), ON_POINTS)
def test_only_the_backbone_is_written_under_the_models_own_names(pretext, name, task, tmp_path):
    trained = training(pretext, name, task)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.01)
    trained.save_pretrained(tmp_path / "weights.safetensors", {})
    state, _ = read_safetensors(tmp_path / "weights.safetensors")
    assert set(state) == set(trained.model.backbone_state()) and state
    other = make_model(name, task, seed=9, hidden=True)
    untrained = {k: v.clone() for k, v in other.state_dict().items()}
    other.load_backbone(tmp_path / "weights.safetensors")
    for key, value in other.state_dict().items():
        expected = trained.model.state_dict()[key] if key in state else untrained[key]
        assert torch.equal(value, expected), key


def content(batch: PointBatch):
    """All arrays of a batch by name, for comparisons."""
    return dataclasses.asdict(batch)
