"""Simulated events beside PILArNet-M: every published number within its stated factor."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.datasets.larsim import statistics
from benchmark.datasets.larsim.images import make_image
from benchmark.datasets.larsim.plan import Plan, SimulationSettings
from benchmark.datasets.larsim.production import simulate_plan
from benchmark.datasets.larsim.shards import simulate_image
from benchmark.datasets.larsim.transport import simulate_event
from benchmark.datasets.larsim.truth import HALF_BOX_MM, PRIMARY_DTYPE
from benchmark.errors import DataError

N_EVENTS = 800  # Michel voxels per event scatter by 6% of their mean at this number


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    out = tmp_path_factory.mktemp("statistics") / "data"
    simulate_plan(Plan({"train": N_EVENTS}, seed=5), out, workers=1)
    found = statistics.measure(out / "train" / f"generic_v2_{N_EVENTS}_v2.h5", grouping=False)
    grouped = statistics.measure(out / "train" / f"generic_v2_{N_EVENTS}_v2.h5", max_events=100)
    found.cnms_groups, found.points_per_group = grouped.cnms_groups, grouped.points_per_group
    found.overlap = grouped.overlap
    return found


@pytest.mark.parametrize("name", statistics.PUBLISHED)
def test_events_are_as_in_pilarnet_m(measured, name):
    rows = {row[0]: row for row in statistics.compare(measured.numbers())}
    _, value, published, good = rows[name]
    assert good, f"{name}: {value:.4g} simulated, {published.value:.4g} published, allowed within x{published.factor}"


def test_nearly_every_event_has_1024_voxels(measured):
    """10,473 of the 10,880 validation events of PILArNet-M v1 do: 96.3%."""
    assert (np.sum(measured.voxels, axis=1) >= 1024).mean() == pytest.approx(0.963, abs=0.035)


def test_no_cluster_has_fewer_than_ten_voxels_to_begin_with():
    """Voxels shared with a track may be lost to it, so a few stored clusters are smaller."""
    sizes = np.concatenate([simulate_image(SimulationSettings(), 5, "train", k).cluster[1:, 0] for k in range(40)])
    assert (sizes >= 10).mean() > 0.97


def test_groups_hold_about_thirteen_points(measured):
    """A straight track through a ball of 5 voxels radius: 3 cm at 4 voxels per cm."""
    sizes = np.bincount(np.concatenate(measured.points_per_group))
    assert 10 <= int(sizes.argmax()) <= 16


# The two muons of the published events that are long enough: start and direction (voxels), and what is measured there.
MUONS = [
    ((361.0, 678.0, 9.0), (0.324, 0.149, 0.934), 181.1, 4.147, 3.22, (0.249, 0.509, 0.696)),
    ((254.0, 67.0, 60.0), (0.990, -0.082, -0.118), 52.5, 3.882, 2.59, (0.406, 0.554, 0.717)),
]


@pytest.mark.parametrize(("start", "direction", "length_cm", "per_cm", "neighbours", "quantiles"), MUONS)
def test_muons_look_like_the_published_ones_in_the_same_direction(
    start, direction, length_cm, per_cm, neighbours, quantiles
):
    primary = np.zeros(1, PRIMARY_DTYPE)
    primary["pdg"] = 13
    kinetic = 2.2 * length_cm + 300.0  # passes the place with the energy of a minimum-ionising particle
    momentum = np.sqrt(kinetic * (kinetic + 2 * 105.66))
    for axis, x, d in zip("xyz", start, direction, strict=True):
        primary[axis], primary[f"p{axis}"] = (x + 0.5) * 3 - HALF_BOX_MM, d * momentum
    rows, energies = [], []
    for seed in range(60):
        image = make_image(simulate_event(primary, seed))
        above = image.point[:, 3] > statistics.ENERGY_CUT_MEV
        cluster = np.repeat(np.arange(len(image.cluster)), image.cluster[:, 0])[above]
        points = image.point[above]
        muon = cluster == 1
        along = (points[muon, :3] @ np.array(direction)) * 0.3
        near = statistics.count_neighbours(points[:, :3].astype(np.int64))
        if np.ptp(along) > 30:
            rows.append((muon.sum() / np.ptp(along), near[muon].mean()))
            energies.append(points[muon, 3])
    assert len(rows) > 40
    assert np.median(rows, axis=0)[0] == pytest.approx(per_cm, rel=0.06)
    assert np.median(rows, axis=0)[1] == pytest.approx(neighbours, rel=0.15)
    np.testing.assert_allclose(np.percentile(np.concatenate(energies), [16, 50, 84]), quantiles, rtol=0.2)


def test_neighbours_are_counted_among_26():
    cube = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    near = statistics.count_neighbours(cube)
    assert near[(cube == 1).all(axis=1)] == 26 and near[(cube == 0).all(axis=1)] == 7
    assert statistics.count_neighbours(np.array([[0, 0, 767], [0, 1, 0]])).tolist() == [0, 0]


def test_published_events_measure_as_published(shared_dir):
    """The same code on the two published events: the numbers that the comparison quotes."""
    path = shared_dir / "reference" / "lartpc" / "real_events" / "h5_v2" / "test" / "generic_v2_2_v2.h5"
    numbers = statistics.measure(path).numbers()
    names = ("median MeV per voxel, track", "median MeV per voxel, shower", "neighbours of a muon voxel")
    names += ("low-energy fraction above 0.13 MeV", "muon voxels per cm", "neighbours of a low-energy voxel")
    for name in names:
        assert numbers[name] == pytest.approx(statistics.PUBLISHED[name].value, rel=0.03), name


def test_an_unreadable_file_is_one_sentence(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.h5 is damaged, or no HDF5 file\. .*expected"):
        statistics.measure(tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"There is no file .*b\.h5\. .*expected"):
        statistics.measure(tmp_path / "b.h5")
