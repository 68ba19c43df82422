"""Simulated light-sheet scans: physics of tracks, optics, truth, files, and the data set made of them."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from benchmark import registry
from benchmark.datasets.lifsim import production
from benchmark.datasets.lifsim.optics import Optics, render
from benchmark.datasets.lifsim.plan import Physics, Piece, Plan
from benchmark.datasets.lifsim.production import SCANS, TRACKS, simulate_plan
from benchmark.datasets.lifsim.reactions import STEP_UM, draw_reactions
from benchmark.datasets.lifsim.scan import BLUR, make_scan
from benchmark.datasets.lifsim.stopping import (
    ALPHA,
    FLUORINE,
    LITHIUM,
    TRITON,
    slowing_down,
    stopping,
    track_length,
)
from benchmark.errors import ConfigError, DataError
from benchmark.ops.robust import median_and_sigma
from benchmark.seeding import generator
from benchmark.tasks import TASKS

SMALL = {"shape": (10, 160, 140), "physics": Physics(events_per_mm3=12_000.0)}
PLAN = Plan(scans={"train": 2, "val": 1, "test": 1}, **SMALL)


@pytest.mark.parametrize(
    ("ion", "kev", "um", "tolerance"), [(TRITON, 2730.0, 33.0, 0.1), (ALPHA, 2050.0, 6.1, 0.3)]
)  # fmt: skip
def test_ranges_are_those_of_the_products_of_neutron_capture(ion, kev, um, tolerance):
    assert track_length(ion, kev) == pytest.approx(um, rel=tolerance)


def test_recoils_are_short_and_ions_stop_more_strongly_the_heavier_they_are():
    assert track_length(FLUORINE, 500.0) < track_length(LITHIUM, 500.0) < 5
    same_speed = [stopping(ion, np.array(ion.nucleons * 200.0)) for ion in (TRITON, ALPHA, LITHIUM, FLUORINE)]
    assert (np.diff(same_speed) > 0).all()
    assert stopping(TRITON, np.array(300.0)) > stopping(TRITON, np.array(3000.0))  # the peak lies at the track's end


@pytest.mark.parametrize(("ion", "kev"), [(ALPHA, 2050.0), (TRITON, 2730.0), (FLUORINE, 37.0)])
def test_a_track_holds_all_of_its_energy(ion, kev):
    lost = slowing_down(ion, kev, STEP_UM)
    assert lost.sum() == pytest.approx(kev) and (lost > 0).all()


def test_reactions_have_the_asked_density_and_captures_fly_apart_from_one_place():
    physics = Physics(events_per_mm3=5000.0, density_spread=0.0, thermal_share=0.5, kink_share=0.0)
    size = (400.0, 500.0, 500.0)  # 0.1 mm3
    found = draw_reactions(physics, size, generator("reactions"))
    assert len(found) == pytest.approx(500, abs=5 * 500**0.5)
    captures = [r for r in found if r.kind == "capture"]
    assert len(captures) / len(found) == pytest.approx(0.5, abs=0.1)
    alpha, triton = captures[0].tracks
    assert np.linalg.norm(alpha.places[0] - triton.places[0]) == pytest.approx(STEP_UM)
    directions = [t.places[-1] - t.places[0] for t in (alpha, triton)]
    cosine = directions[0] @ directions[1] / np.prod([np.linalg.norm(d) for d in directions])
    assert cosine == pytest.approx(-1)
    light = np.concatenate([t.light / t.deposits for r in captures for t in r.tracks])
    assert light.mean() == pytest.approx(1, abs=0.1) and light.std() > 0.3  # beads


def test_the_point_spread_function_keeps_the_light_and_widens_away_from_the_waist():
    shape = (60, 120, 400)
    optics = Optics.of(Physics(), shape, (7.0, 0.425, 0.425))
    waist, edge = (render(np.array([[30.0, 60.0, x]]), np.ones(1), optics, shape) for x in (200.0, 370.0))
    for box in (waist, edge):
        assert box.values.sum() == pytest.approx(1, abs=1e-3)

    def width(box):
        profile = box.values.sum(axis=(1, 2))
        z = np.arange(len(profile))
        mean = (z * profile).sum() / profile.sum()
        return np.sqrt((((z - mean) ** 2) * profile).sum() / profile.sum())

    assert width(waist) == pytest.approx(6.5 / 7, rel=0.02)
    assert width(edge) > 1.7 * width(waist)
    assert render(np.array([[30.0, -500.0, 200.0]]), np.ones(1), optics, shape) is None
    blurred = render(np.array([[30.0, 60.0, 200.0]]), np.ones(1), optics, shape, blur=2.0)
    whole = np.zeros(shape, np.float32)
    whole[waist.where] = waist.values
    np.testing.assert_allclose(gaussian_filter(whole, 2.0)[30, 60, 200], blurred.values.max(), rtol=0.02)


@pytest.fixture(scope="module")
def scan():
    return make_scan(PLAN, Piece("train", 0))


def test_a_scan_is_decided_by_its_name_and_the_seed(scan):
    again = make_scan(PLAN, Piece("train", 0))
    np.testing.assert_array_equal(scan.image, again.image)
    np.testing.assert_array_equal(scan.instance, again.instance)
    for other in (make_scan(PLAN, Piece("train", 1)), make_scan(Plan(seed=2, **SMALL), Piece("train", 0))):
        assert (other.image != scan.image).mean() > 0.5


def test_the_background_has_the_measured_noise_and_dark_rows(scan):
    begin, end = scan.lit
    assert scan.image[:, :begin].mean() < 0.5 * scan.image[:, begin:end].mean()
    _, sigma = median_and_sigma(gaussian_filter(scan.image[:, begin:end].astype(np.float32), BLUR))
    assert 1.0 < sigma < 2.0  # counts; measured crops: 1.2 to 1.3


def test_the_truth_is_what_rises_above_noise_and_a_fifth_of_the_tracks_peak(scan):
    visible = {r["instance"] for r in scan.tracks if r["voxels"]}
    assert visible == set(np.unique(scan.instance)) - {0}
    begin, end = scan.lit
    assert not scan.instance[:, :begin].any() and not scan.instance[:, end:].any()
    for row in scan.tracks:
        assert (row["peak_counts"] >= scan.noise) or row["voxels"] == 0
    lit = slice(begin, end)
    blurred = np.zeros(scan.image.shape, np.float32)
    blurred[:, lit] = gaussian_filter(scan.image[:, lit].astype(np.float32), BLUR)
    level = np.median(blurred[:, lit])
    inside, outside = blurred[scan.instance > 0] - level, blurred[:, lit][scan.instance[:, lit] == 0] - level
    assert inside.mean() > 3 * scan.noise > 3 * abs(outside.mean())
    brightest = max(scan.tracks, key=lambda r: r["peak_counts"])
    own = blurred[scan.instance == brightest["instance"]] - level
    assert own.max() == pytest.approx(brightest["peak_counts"], rel=0.35, abs=5 * scan.noise)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("lifsim") / "scans"
    simulate_plan(PLAN, out, workers=1)
    return out


def test_files_hold_what_was_simulated_with_their_voxel_size(folder, scan):
    with tifffile.TiffFile(folder / "train00.ome.tif") as file:
        assert file.is_ome and file.series[0].axes == "ZYX"
        np.testing.assert_array_equal(file.asarray(), scan.image)
        assert 'PhysicalSizeZ="7.0"' in file.ome_metadata and 'PhysicalSizeX="0.425"' in file.ome_metadata
    np.testing.assert_array_equal(tifffile.memmap(folder / "train00.ome.tif", mode="r"), scan.image)
    np.testing.assert_array_equal(tifffile.imread(folder / "train00_truth.ome.tif"), scan.instance)
    with (folder / SCANS).open() as stream:
        rows = {r["scan"]: r for r in csv.DictReader(stream)}
    assert list(rows) == ["train00", "train01", "val00", "test00"]
    assert (int(rows["train00"]["y_min"]), int(rows["train00"]["y_max"])) == scan.lit
    with (folder / TRACKS).open() as stream:
        tracks = [r for r in csv.DictReader(stream) if r["scan"] == "train00"]
    assert [int(r["voxels"]) for r in tracks] == [r["voxels"] for r in scan.tracks]


def test_workers_and_interruptions_change_nothing(folder, tmp_path, monkeypatch):
    made = []

    def fails_later(plan, piece):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(piece)
        return make_scan(plan, piece)

    monkeypatch.setattr(production, "make_scan", fails_later)
    with pytest.raises(KeyboardInterrupt):
        simulate_plan(PLAN, tmp_path / "again", workers=1)
    assert not (tmp_path / "again" / "simulation.json").exists()
    monkeypatch.setattr(production, "make_scan", make_scan)
    simulate_plan(PLAN, tmp_path / "again", workers=2)
    first, second = (json.loads((f / "simulation.json").read_text()) for f in (folder, tmp_path / "again"))
    assert first["files"] == second["files"] and first["revision"] == second["revision"] == PLAN.revision()
    with pytest.raises(ConfigError, match="finished simulation"):
        simulate_plan(dataclasses.replace(PLAN, seed=PLAN.seed + 1), folder, workers=1)


def test_plans_that_make_no_sense_are_refused(tmp_path):
    for wrong in ({"scans": {"train": 0}}, {"shape": (2, 100, 100)}):
        with pytest.raises(ConfigError, match="expected"):
            simulate_plan(Plan(**wrong), tmp_path / "x")
    spec = registry.dataset_spec("lif-sim")
    for wrong in ({"scans_val": 0}, {"events_per_mm3": -1.0}, {"tile": (0, 1, 1)}):
        with pytest.raises(ValueError, match="expected"):
            spec.config(**wrong)


def test_the_data_set_is_made_on_first_use_and_read_like_anybodys_scans(folder):
    spec = registry.dataset_spec("lif-sim")
    settings = {"tile": (5, 40, 40), "margin_um": (7.0, 0.0, 5.0), "regions": "none"}
    dataset = spec.open(spec.config(**settings), folder)
    assert dataset.revision.startswith(f"{PLAN.revision()}-")
    assert {i.split(":")[0] for i in dataset.events("test").event_ids} == {"test00"}
    tracks = [dataset.events("train")[i].labels["track"].mean() for i in range(len(dataset.events("train")))]
    assert 0 < np.mean(tracks) < 0.2
    own = registry.dataset_spec("lif-scans")
    same = own.open(own.config(**settings), folder)
    np.testing.assert_array_equal(same.events("val")[0].volume, dataset.events("val")[0].volume)
    (folder / "val00.ome.tif").rename(folder / "gone")
    with pytest.raises(DataError, match=r"lacks val00\.ome\.tif"):
        spec.open(spec.config(**settings), folder)
    (folder / "gone").rename(folder / "val00.ome.tif")
    assert TASKS["lif-segmentation"].dataset == "lif-sim"
