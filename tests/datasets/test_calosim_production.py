"""Events in MLTree's tables, and data sets of them: reproducible, resumable, never half-written."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from benchmark.datasets._folders import read_manifest
from benchmark.datasets._mltree import (
    CELL_BRANCHES,
    CLUSTER_BRANCHES,
    EVENT_BRANCHES,
    HIT_BRANCHES,
    RADIUS_MM,
    SAMPLINGS,
    TRACK_BRANCHES,
    TRUTH_BRANCHES,
    UNREACHED,
)
from benchmark.datasets._mltree_check import LAYER_BRANCHES, check, concatenated, dtype_of
from benchmark.datasets._mltree_npy import read_geometry, read_tree
from benchmark.datasets.calosim import plan as plans
from benchmark.datasets.calosim import production
from benchmark.datasets.calosim.generate import GeneratorSettings
from benchmark.datasets.calosim.geometry import LAYERS
from benchmark.datasets.calosim.local_calibration import calibrated, fill_tables
from benchmark.datasets.calosim.plan import Plan
from benchmark.datasets.calosim.production import simulate_plan
from benchmark.datasets.calosim.simulate import cell_geometry, simulate_chunk
from benchmark.errors import BenchmarkError, ConfigError, DataError
from benchmark.io import sha256_file

GROUPS = ("events", "truth", "tracks", "clusters", "cells", "hits")


@pytest.fixture(scope="module", params=["pions", "mixtures"])
def tree(request):
    return simulate_chunk(request.param, 3, "train", 0, 60)


def same(a, b):
    for group in GROUPS:
        for name, values in getattr(a, group).items():
            np.testing.assert_array_equal(values, getattr(b, group)[name], err_msg=name)
    for name in ("n_truth", "n_tracks", "n_clusters", "n_cells"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


# ---- events


def test_all_branches_are_there_with_their_types(tree):
    expected = {
        "events": EVENT_BRANCHES, "truth": TRUTH_BRANCHES, "tracks": (*TRACK_BRANCHES, *LAYER_BRANCHES),
        "clusters": CLUSTER_BRANCHES, "cells": CELL_BRANCHES, "hits": HIT_BRANCHES,
    }  # fmt: skip
    for group, names in expected.items():
        table = getattr(tree, group)
        assert set(table) == set(names)
        assert {name: values.dtype for name, values in table.items()} == {n: np.dtype(dtype_of(n)) for n in names}
    rows = check(tree, cell_geometry(), "here")
    assert len(rows) == tree.n_cells.sum() > 0


def test_values_make_sense(tree):
    t, c = tree.truth, tree.clusters
    np.testing.assert_allclose(
        t["truthPartE"] ** 2, (t["truthPartPt"] * np.cosh(t["truthPartEta"])) ** 2 + t["truthPartMass"] ** 2, rtol=1e-3
    )
    assert (c["cluster_E"] > 0.5).all() and (tree.cells["cluster_cell_E"] > 0.005).all()
    assert (np.abs(c["cluster_Eta"]) < 1.4).all() and (np.abs(c["cluster_Phi"]) <= np.float32(np.pi)).all()
    for name in ("cluster_EM_PROBABILITY", "cluster_ISOLATION"):
        assert (c[name] >= 0).all() and (c[name] <= 1).all()
    for name in ("cluster_OOC_WEIGHT", "cluster_DM_WEIGHT"):
        assert (c[name] >= 1).all() and (c[name] <= 3).all()
    product = c["cluster_E"] * c["cluster_HAD_WEIGHT"] * c["cluster_OOC_WEIGHT"] * c["cluster_DM_WEIGHT"]
    np.testing.assert_allclose(c["cluster_E_LCCalib"], product, rtol=1e-5)
    kinds = sum(tree.cells[f"cluster_cell_hitsE_{k}"] for k in ("EM", "nonEM", "Invisible", "Escaped"))
    owner = np.repeat(np.arange(len(tree.n_cells)), tree.n_cells)
    written = np.bincount(owner, kinds, len(tree.n_cells))
    assert (written <= c["cluster_ENG_CALIB_TOT"] * 1.001 + 1e-4).all()  # the rest is in cells below 5 MeV
    assert written.sum() > 0.9 * c["cluster_ENG_CALIB_TOT"].sum()


def test_tracks_reach_the_barrel_and_nothing_else(tree):
    for layer in SAMPLINGS:
        eta, phi = tree.tracks[f"trackEta_{layer}"], tree.tracks[f"trackPhi_{layer}"]
        reached = eta > -10
        assert ((phi > -10) == reached).all() and (eta[~reached] == np.float32(UNREACHED)).all()
        assert reached.any() == (layer in LAYERS)
    assert set(LAYERS) <= set(RADIUS_MM)


def test_cells_belong_to_the_particle_that_is_near():
    """In single pions every hit is the pion's; photons of a neutral one follow it and have none."""
    tree = simulate_chunk("pions", 3, "train", 0, 60)
    index = tree.hits["cluster_cell_hitsTruthIndex"]
    assert set(np.unique(index)) <= {-1, 0}
    first = np.cumsum(tree.n_truth) - tree.n_truth
    neutral = tree.truth["truthPartPdgId"][first] == 111
    assert (tree.n_truth[neutral] == 3).all() and (tree.n_truth[~neutral] == 1).all()
    assert (tree.n_tracks[neutral] == 0).all() and tree.n_tracks[~neutral].max() == 1
    channel = tree.events["mcChannelNumber"]
    assert ((channel == 900246) == neutral).all() and set(channel) == {900246, 900247}


def test_an_event_is_the_same_in_any_chunk(tree):
    name = "mixtures" if 900148 in tree.events["mcChannelNumber"] else "pions"
    parts = [simulate_chunk(name, 3, "train", first, n) for first, n in ((0, 7), (7, 1), (8, 52))]
    same(concatenated(parts), tree)
    alone = simulate_chunk(name, 3, "train", 59, 1)
    assert alone.events["eventNumber"].tolist() == [59] and alone.n_clusters[0] == tree.n_clusters[59]


def test_seeds_and_splits_are_independent():
    energies = {
        float(simulate_chunk("pions", seed, split, 0, 1).truth["truthPartE"][0])
        for seed, split in ((3, "train"), (3, "val"), (4, "train"))
    }
    assert len(energies) == 3


def test_an_empty_chunk_has_all_branches():
    tree = simulate_chunk("pions", 1, "train", 5, 0)
    assert tree.n_events == 0 and set(tree.clusters) == set(CLUSTER_BRANCHES)
    assert tree.hits["cluster_cell_hitsTruthE"].shape == (0, 3)


def test_impossible_requests_are_one_sentence():
    with pytest.raises(BenchmarkError, match="Did you mean 'pions'"):
        simulate_chunk("pion", 1, "train", 0, 1)
    with pytest.raises(ConfigError, match="at least 0"):
        simulate_chunk("pions", 1, "train", -1, 1)


# ---- local calibration


def test_tables_recover_what_they_are_filled_with():
    """Neutral clusters early, charged ones late and seen at 0.7: P_EM separates, the weight is 1 / 0.7."""
    rng = np.random.default_rng(1)
    n = 20_000
    charged = rng.random(n) < 0.5
    true = np.exp(rng.uniform(0, 6, n))
    clusters = {
        "E": np.where(charged, 0.7, 1.0) * true, "Eta": rng.uniform(-1.2, 1.2, n),
        "CENTER_LAMBDA": np.where(charged, 800.0, 200.0) * rng.lognormal(0, 0.1, n),
        "FIRST_ENG_DENS": 1e-6 * rng.lognormal(0, 0.5, n), "ENG_CALIB_TOT": true,
        "ENG_CALIB_OUT_T": 0.1 * true, "ENG_CALIB_DEAD_TOT": np.where(charged, 0.2, 0.05) * true,
    }  # fmt: skip
    tables = fill_tables(clusters, charged)
    weights = calibrated(clusters, tables)
    assert weights.em_probability[~charged].mean() > 0.98 > 0.02 > weights.em_probability[charged].mean()
    assert np.median(weights.had_weight[charged]) == pytest.approx(1 / 0.7, rel=0.03)
    assert np.median(weights.had_weight[~charged]) == pytest.approx(1.0, abs=0.03)
    assert np.median(weights.ooc_weight) == pytest.approx(1.1, abs=0.02)
    assert np.median(weights.calibrated[charged] / true[charged]) == pytest.approx(1.1 * 1.2, rel=0.05)


# ---- data sets


SMALL = Plan({"train": 9, "test": 4}, {"train": 5}, seed=7)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("calo") / "data"
    return out, simulate_plan(SMALL, out, workers=1)


def test_a_folder_holds_the_files_of_its_manifest(made):
    out, manifest = made
    expected = {"cell_geo.npy", "train/pions_0000.npy", "test/pions_0000.npy", "train/mixtures_0000.npy"}
    assert set(manifest["files"]) == expected
    assert {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} == expected | {"simulation.json"}
    assert all(sha256_file(out / name) == digest for name, digest in manifest["files"].items())
    assert manifest["revision"].startswith("calo-") and len(manifest["revision"]) == 17
    assert "not ATLAS simulation" in manifest["notice"] and read_manifest(out) == manifest
    geo = read_geometry(out / "cell_geo.npy")
    for name, first in (("train/pions_0000.npy", 9), ("train/mixtures_0000.npy", 5), ("test/pions_0000.npy", 4)):
        stored = read_tree(out / name)
        assert stored.n_events == first
        check(stored, geo, name)
    same(read_tree(out / "train/pions_0000.npy"), simulate_chunk("pions", 7, "train", 0, 9))


def test_the_revision_names_settings_seed_and_size():
    others = [
        dataclasses.replace(SMALL, seed=8),
        dataclasses.replace(SMALL, pions={"train": 10, "test": 4}),
        dataclasses.replace(SMALL, mixtures={}),
        dataclasses.replace(SMALL, settings=GeneratorSettings(max_eta=0.7)),
    ]
    assert SMALL.revision() == Plan({"train": 9, "test": 4}, {"train": 5}, seed=7).revision()
    assert len({p.revision() for p in (SMALL, *others)}) == 5
    assert Plan().n_events == 32_000 and len(Plan().pieces()) == 17


def test_an_interrupted_production_continues_and_gives_the_same_events(made, tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "FILE_EVENTS", 4)
    real, finished = production.make_piece, []

    def stop_at_third(plan, piece, work):
        if len(finished) == 2:
            raise KeyboardInterrupt
        finished.append(piece)
        return real(plan, piece, work)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        dataclasses.replace(production.SIMULATION, make=stop_at_third).simulate(SMALL, out, workers=1)
    assert not (out / "simulation.json").exists() and not (out / "train").exists()
    with pytest.raises(ConfigError, match="other settings \\(seed: 7 there, 8 requested\\)"):
        simulate_plan(dataclasses.replace(SMALL, seed=8), out, workers=1)
    finished[0].path(out / ".work").write_bytes(b"damaged")

    again = []
    counted = dataclasses.replace(production.SIMULATION, make=lambda *a: (again.append(a[1]), real(*a))[1])
    counted.simulate(SMALL, out, workers=1)
    assert set(again) == set(SMALL.pieces()) - {finished[1]}
    assert sorted(p.name for p in (out / "train").iterdir()) == [
        "mixtures_0000.npy", "mixtures_0001.npy", "pions_0000.npy", "pions_0001.npy", "pions_0002.npy",
    ]  # fmt: skip
    parts = [read_tree(out / "train" / f"pions_000{k}.npy") for k in range(3)]
    same(concatenated(parts), read_tree(made[0] / "train" / "pions_0000.npy"))
    assert not (out / ".work").exists()


@pytest.mark.slow
def test_processes_make_the_same_files(made, tmp_path):
    manifest = simulate_plan(SMALL, tmp_path / "out", workers=2)
    assert manifest["files"] == made[1]["files"]


def test_other_folders_are_refused_and_untouched(made, tmp_path):
    with pytest.raises(ConfigError, match="already holds a finished simulation"):
        simulate_plan(dataclasses.replace(SMALL, seed=8), made[0], workers=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        simulate_plan(SMALL, tmp_path, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("plan", "workers", "message"),
    [
        (Plan({"training": 1}, {}), 1, "'training'"),
        (Plan({"train": -1}, {}), 1, "-1 pions"),
        (Plan({}, {}), 1, "No events"),
        (Plan({"train": 10**7}, {}), 1, "GB free"),
        (Plan({"train": 1}, {}, settings=GeneratorSettings(max_eta=9.0)), 1, "max_eta"),
        (Plan({"train": 1}, {}), 0, "0 workers"),
    ],
)
def test_impossible_plans_are_one_sentence_and_leave_nothing(tmp_path, plan, workers, message):
    with pytest.raises(ConfigError, match=message) as caught:
        simulate_plan(plan, tmp_path / "out", workers=workers)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_the_manifest_is_json_with_the_settings(made):
    stored = json.loads((made[0] / "simulation.json").read_text())
    assert stored["settings"]["shares"] == [0.35, 0.35, 0.3] and stored["pions"] == {"test": 4, "train": 9}
