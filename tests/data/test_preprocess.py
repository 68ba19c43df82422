"""Cuts, energy map and targets are what the configuration says; rotations are uniform and move nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.contracts import Event, Frame, PointBatch, Task, concatenate
from benchmark.data.augment import lattice_rotations, random_rotations, rotate, rotations
from benchmark.data.preprocess import Eligible, Preprocess, eligible, log_energy, preprocess
from benchmark.datasets._pilarnet import FRAME, open_pilarnet
from benchmark.datasets.pilarnet_m import INFO, SPEC, Config
from benchmark.errors import ConfigError, DataError
from benchmark.settings import override
from benchmark.tasks import LARTPC_SEGMENTATION as FOUR
from benchmark.tasks import LARTPC_SEGMENTATION_5 as FIVE
from builders.pilarnet_files import make_event, make_events, write_file, write_folder


def make(energy, semantic, group=None) -> Event:
    n = len(energy)
    labels = {"semantic": np.array(semantic), "group": np.arange(n) if group is None else np.array(group)}
    coords = np.arange(3 * n, dtype="f4").reshape(n, 3)
    return Event("e", coords, np.array(energy, dtype="f4"), labels)


# --- the energy map ---


def test_log_energy_has_its_stated_ends():
    config = Preprocess()
    values = log_energy(np.array([0.0, 0.13, 1.0, 20.0, 40.0], "f4"), config)
    np.testing.assert_allclose(values[:4], [-1.0, -0.7251, -0.1423, 1.0], atol=5e-5)  # PoLAr-MAE's code, executed
    assert values[4] > 1  # not clipped
    assert values.dtype == np.float32


@pytest.mark.parametrize("eps, top", [(0.13, 20.0), (0.01, 20.0), (1.0, 5.0)])
def test_log_energy_equals_its_formula(eps, top):
    energy = np.random.default_rng(0).lognormal(0, 2, 1000).astype("f4")
    config = Preprocess(log_eps_mev=eps, log_max_mev=top)
    exact = 2 * np.log((energy.astype("f8") + eps) / eps) / np.log((top + eps) / eps) - 1
    np.testing.assert_allclose(log_energy(energy, config), exact, rtol=1e-6, atol=5e-7)


# --- cuts ---


def test_threshold_is_strict_and_in_float32():
    batch = preprocess(make([0.12, 0.13, 0.1301, 5.0], [0, 0, 1, 1]), FIVE, Preprocess(), FRAME)
    np.testing.assert_array_equal(batch.energy, np.array([0.1301, 5.0], "f4"))


def test_dropped_class_goes_wherever_it_stands():
    event = make([1, 1, 1, 1, 1], [0, 4, 2, 4, 3])
    four, five = (preprocess(event, task, Preprocess(), FRAME) for task in (FOUR, FIVE))
    np.testing.assert_array_equal(four.target, [0, 2, 3])
    np.testing.assert_array_equal(five.target, [0, 4, 2, 4, 3])
    np.testing.assert_array_equal(four.instance, [0, 2, 4])
    np.testing.assert_array_equal(four.coords, event.coords[[0, 2, 4]])


def test_first_cluster_stays_when_it_is_no_scatter():
    batch = preprocess(make([1, 1, 1], [1, 1, 0]), FOUR, Preprocess(), FRAME)
    np.testing.assert_array_equal(batch.target, [1, 1, 0])


def test_remaining_classes_are_numbered_from_zero():
    task = replace(FOUR, drop_classes=(0, 2), classes=("track", "delta", "low_energy"))
    batch = preprocess(make([1] * 5, [0, 1, 2, 3, 4]), task, Preprocess(), FRAME)
    np.testing.assert_array_equal(batch.target, [0, 1, 2])


def test_ignored_label_stays_ignored_and_unknown_label_is_refused():
    batch = preprocess(make([1, 1], [-1, 2]), FIVE, Preprocess(), FRAME)
    np.testing.assert_array_equal(batch.target, [-1, 2])
    with pytest.raises(DataError, match="semantic label 5"):
        preprocess(make([1, 1], [0, 5]), FIVE, Preprocess(), FRAME)


def test_nothing_left_is_refused():
    with pytest.raises(DataError, match="no point left"):
        preprocess(make([0.1, 1.0], [0, 4]), FOUR, Preprocess(), FRAME)


def test_missing_label_is_named():
    with pytest.raises(DataError, match=r"no label 'pid'\. It has group, semantic"):
        preprocess(make([1.0], [0]), replace(FIVE, label="pid"), Preprocess(), FRAME)


def test_event_level_targets_keep_all_points():
    event = Event("e", np.zeros((3, 3), "f4"), np.ones(3, "f4"), {"kind": np.int64(1), "size": np.float32(2.5)})
    config = Preprocess(instance="")
    kind = Task("t", 1, "", "points", "event", "classification", "kind", classes=("a", "b"))
    size = Task("t", 1, "", "points", "event", "regression", "size")
    np.testing.assert_array_equal(preprocess(event, kind, config, FRAME).target, [1])
    batch = preprocess(event, size, config, FRAME)
    assert batch.n_points == 3 and batch.instance is None
    np.testing.assert_array_equal(batch.target, np.array([2.5], "f4"))


# --- columns and coordinates ---


def test_columns_are_those_asked_for():
    event = make([1.0, 3.0], [0, 1])
    default = preprocess(event, FOUR, Preprocess(), FRAME)
    both = preprocess(event, FOUR, Preprocess(columns=("energy", "log_energy")), FRAME)
    assert default.columns == ("log_energy",) and default.feats.shape == (2, 1)
    np.testing.assert_array_equal(both.column("energy"), [1.0, 3.0])
    np.testing.assert_array_equal(both.column("log_energy"), default.column("log_energy"))
    assert both.feats.dtype == np.float32


def test_coordinates_stay_in_voxels_or_are_centred_per_event():
    event = make([1.0, 1.0, 1.0], [0, 1, 1])
    detector = preprocess(event, FOUR, Preprocess(), FRAME)
    centred = preprocess(event, FOUR, Preprocess(coords="centred"), FRAME)
    np.testing.assert_array_equal(detector.coords, event.coords)
    np.testing.assert_array_equal((centred.coords.min(0) + centred.coords.max(0)) / 2, FRAME.centre)
    np.testing.assert_array_equal(np.diff(centred.coords, axis=0), np.diff(event.coords, axis=0))


@pytest.mark.parametrize(
    "wrong",
    [{"energy_min_mev": -1.0}, {"energy_min_mev": float("nan")}, {"min_points": -1}, {"log_eps_mev": 0.0},
     {"log_max_mev": float("inf")}, {"columns": ()}, {"columns": ("time",)}, {"coords": "cm"}],
)  # fmt: skip
def test_settings_outside_their_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong)).partition("_m")[0]):
        override(Preprocess(), wrong, "preprocess")


# --- which events are used ---


def test_eligible_counts_each_reason(tmp_path):
    rng = np.random.default_rng(1)
    good, small, empty = make_event(rng, (40, 40, 40)), make_event(rng, (20, 20)), make_event(rng, (90, 10))
    empty.point[:90, 3] = 5.0  # bright, but scatters
    empty.point[90:, 3] = 0.01
    edge = make_event(rng, (60, 40))
    write_file(tmp_path / "test" / "a.h5", [small, good, empty, edge])
    source = open_pilarnet(tmp_path, INFO).events("test")
    result = eligible(source, FOUR, Preprocess(min_points=100))
    assert isinstance(result, Eligible)
    np.testing.assert_array_equal(result.indices, [1, 3])  # 100 points, scatters included, are enough
    assert result.excluded == {"below_min_points": 1, "nothing_left_after_cuts": 1}
    assert eligible(source, FIVE, Preprocess(min_points=0)).excluded == {}
    for i in result.indices:
        preprocess(source[int(i)], FOUR, Preprocess(), FRAME)


def test_events_concatenate_to_a_batch(tmp_path):
    root = write_folder(tmp_path, {"test": make_events(np.random.default_rng(2), 4)})
    source = open_pilarnet(root, INFO).events("test")
    parts = [preprocess(source[i], FOUR, Preprocess(), FRAME) for i in range(4)]
    batch = concatenate(parts)
    assert batch.n_events == 4 and batch.event_ids == source.event_ids
    for b, part in enumerate(parts):
        where = slice(batch.offsets[b], batch.offsets[b + 1])
        np.testing.assert_array_equal(batch.coords[where], part.coords)
        np.testing.assert_array_equal(batch.target[where], part.target)


# --- against the published implementation ---


@pytest.fixture
def golden(shared_dir, tmp_path):
    folder = shared_dir / "reference" / "polarmae" / "golden"
    (tmp_path / "test").mkdir()
    for name in ("public_events.h5", "public_events_points.npy"):
        (tmp_path / "test" / name).write_bytes((folder / name).read_bytes())
    return SPEC.open(Config(), tmp_path).events("test"), np.load(folder / "public_batch.npz")


LAST_BITS = 3e-7  # numpy's single-precision logarithm depends on the processor's vector instructions


def test_golden_batch_is_reproduced(golden):
    source, batch = golden
    config = Preprocess(instance="cluster")
    result = eligible(source, FOUR, config)
    assert len(result.indices) == len(batch["lengths"]) and result.excluded == {"below_min_points": 1}
    np.testing.assert_array_equal(source.n_points, batch["h5_total_points"])
    for row, i in enumerate(result.indices):
        ours, n = preprocess(source[int(i)], FOUR, config, FRAME), batch["lengths"][row]
        assert ours.n_points == n
        np.testing.assert_array_equal(ours.coords, batch["points"][row, :n, :3])
        np.testing.assert_allclose(ours.column("log_energy"), batch["points"][row, :n, 3], rtol=0, atol=LAST_BITS)
        np.testing.assert_array_equal(ours.target, batch["semantic_id"][row, :n, 0])
        np.testing.assert_array_equal(ours.instance - 1, batch["cluster_id"][row, :n, 0])  # the scatters were number 0
        np.testing.assert_array_equal(ours.normalised_coords, batch["points_norm"][row, :n, :3])


@pytest.mark.parametrize(
    "variant, task, config",
    [
        ("var_nothr", FOUR, Preprocess(energy_min_mev=0.0, log_eps_mev=0.01)),
        ("var_thr02", FOUR, Preprocess(energy_min_mev=0.2, log_eps_mev=0.2)),
        ("var_keepLE", FIVE, Preprocess()),
    ],
)
def test_golden_variants_are_reproduced(golden, variant, task, config):
    source, batch = golden
    ours = preprocess(source[0], task, config, FRAME)
    np.testing.assert_array_equal(ours.coords, batch[f"{variant}_points"][:, :3])
    np.testing.assert_allclose(ours.column("log_energy"), batch[f"{variant}_points"][:, 3], rtol=0, atol=LAST_BITS)
    np.testing.assert_array_equal(ours.target, batch[f"{variant}_semantic_id"][:, 0])


def test_real_event_has_the_published_log_energy(shared_dir):
    folder = shared_dir / "reference" / "lartpc" / "real_events"
    event = SPEC.open(Config(), folder / "h5_v2").events("test")[1]
    stored = np.load(folder / "pilarnetm_v2_test_event7675.npz")
    ours = preprocess(event, FIVE, Preprocess(log_eps_mev=0.01), FRAME)  # Panda's epsilon
    order, theirs = np.lexsort(ours.coords.T), np.lexsort(stored["coords"].T)
    published = stored["energy_logtransformed_f32"][theirs]
    np.testing.assert_allclose(ours.column("log_energy")[order], published, atol=3e-7)
    np.testing.assert_allclose(ours.normalised_coords[order], stored["coord_normalised_f32"][theirs], atol=1e-7)


# --- rotations ---


def test_rotations_are_proper():
    matrices = random_rotations(500, np.random.default_rng(3))
    identities = np.broadcast_to(np.eye(3), (500, 3, 3))
    np.testing.assert_allclose(matrices @ np.swapaxes(matrices, 1, 2), identities, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-12)


def test_rotations_are_uniform():
    """Haar measure: entries have mean 0, mean square 1/3, fourth moment 1/5; the angle's density is (1 - cos a)/pi."""
    matrices = random_rotations(40000, np.random.default_rng(4))
    np.testing.assert_allclose(matrices.mean(0), 0, atol=0.015)
    np.testing.assert_allclose((matrices**2).mean(0), 1 / 3, atol=0.008)
    np.testing.assert_allclose((matrices**4).mean(0), 1 / 5, atol=0.008)
    angle = np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert abs(angle.mean() - (np.pi / 2 + 2 / np.pi)) < 0.015


def test_the_24_rotations_of_the_lattice_are_drawn_alike():
    every = lattice_rotations()
    assert len({m.tobytes() for m in every + 0.0}) == 24
    np.testing.assert_array_equal(every @ np.swapaxes(every, 1, 2), np.broadcast_to(np.eye(3), (24, 3, 3)))
    np.testing.assert_allclose(np.linalg.det(every), 1)
    drawn = rotations("lattice", 24000, np.random.default_rng(9))
    _, counts = np.unique(drawn.reshape(-1, 9), axis=0, return_counts=True)
    assert len(counts) == 24 and np.abs(counts - 1000).max() < 150  # five standard deviations


def test_rotations_of_the_lattice_keep_voxels_exactly():
    matrices = lattice_rotations()
    turned = rotate(batch_of(24), matrices)
    centre = np.asarray(FRAME.centre)
    np.testing.assert_array_equal(turned.coords, np.round(turned.coords))
    events = [np.split(b.coords, 24) for b in (batch_of(24), turned)]
    for matrix, before, after in zip(matrices, *events, strict=True):
        np.testing.assert_array_equal((after - centre) @ matrix + centre, before)


def batch_of(n_events, seed=5) -> PointBatch:
    rng = np.random.default_rng(seed)
    events = [make(rng.random(9) + 1, rng.integers(0, 4, 9)) for _ in range(n_events)]
    return concatenate([preprocess(e, FOUR, Preprocess(), FRAME) for e in events])


def test_rotation_turns_about_the_centre_and_leaves_all_else():
    batch = batch_of(3)
    turned = rotate(batch, rotations("event", batch.n_events, np.random.default_rng(6)))
    centre = np.asarray(FRAME.centre)
    before, after = batch.coords - centre, turned.coords - centre
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), rtol=1e-5)
    assert np.abs(after - before).max() > 1
    for name in ("energy", "feats", "offsets", "target", "instance"):
        np.testing.assert_array_equal(getattr(turned, name), getattr(batch, name))
    assert turned.coords.dtype == np.float32
    assert np.abs(turned.normalised_coords).max() <= 1


def test_each_event_has_a_rotation_of_its_own():
    one = batch_of(1)
    pair = concatenate([one, one])
    turned = rotate(pair, rotations("event", pair.n_events, np.random.default_rng(7))).coords
    assert np.abs(turned[:9] - turned[9:]).max() > 1


def test_same_generator_same_rotation():
    batch = batch_of(2)
    first, second = (
        rotate(batch, rotations("event", batch.n_events, np.random.default_rng(8))).coords for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_frame_of_the_detector_fits_the_unit_ball():
    corners = np.array([[x, y, z] for x in (0, 767) for y in (0, 767) for z in (0, 767)], "f4")
    batch = replace(batch_of(1), coords=corners)
    assert np.linalg.norm(batch.normalised_coords, axis=1).max() <= 1 + 1e-6
    assert isinstance(FRAME, Frame)
