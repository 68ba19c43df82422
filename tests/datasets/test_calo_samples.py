"""Samples of calorimeter events, against a slow count of our own from the tables; what is left out is counted."""

import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.cells import CellPreprocess
from benchmark.datasets import _mltree_npy, calo_sim
from benchmark.datasets._calo_samples import FRAME, SAMPLES, links_among
from benchmark.datasets._mltree import SAMPLINGS
from benchmark.datasets.atlas_pions import INFO, SPEC, Config, open_calorimeter
from benchmark.errors import DataError
from benchmark.io import atomic_write_json, sha256_file
from benchmark.tasks import TASKS
from builders.calo_files import (
    altered,
    make_tree,
    mixtures,
    pions,
    shuffled,
    without,
    wrap,
    write_folder,
    write_root,
)


@pytest.fixture
def rng():
    return np.random.default_rng(21)


def source(tmp_path, geo, tree, sample, name="events"):
    root = tmp_path / name
    _mltree_npy.write_geometry(root / "cell_geo.npy", geo)
    _mltree_npy.write_tree(root / "train" / "events.npy", tree)
    return open_calorimeter(root, INFO, cache=tmp_path / "packs").events("train", sample)


def clusters_of(tree, event):
    """[(row, slice of cells)] of an event's clusters."""
    ends = np.cumsum(tree.n_cells)
    first = int(tree.n_clusters[:event].sum())
    return [(k, slice(ends[k] - tree.n_cells[k], ends[k])) for k in range(first, first + tree.n_clusters[event])]


def row_of(geo):
    return {int(c): i for i, c in enumerate(geo.cell_id)}


def slow_links(geo, rows):
    place = {int(r): i for i, r in enumerate(rows)}
    found = [
        (place[int(n)], i, kind)
        for i, r in enumerate(rows) for kind, n in enumerate(geo.neighbours[r]) if int(n) in place
    ]  # fmt: skip
    return found


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_every_sample_keeps(tmp_path, rng, geo, sample):
    tree = mixtures(rng, geo) if sample == "association" else pions(rng, geo)
    samples = source(tmp_path, geo, tree, sample)
    assert list(samples.event_ids) == sorted(set(samples.event_ids))
    assert len(samples) == len(samples.event_ids) == len(samples.n_points)
    assert all(len(column) == len(samples) for column in samples.table.values())
    for index in range(len(samples)):
        event = samples[index]
        assert event.event_id == samples.event_ids[index]
        assert event.n_points == samples.n_points[index]
        f = event.features
        assert all(len(column) == event.n_points for column in f.values())
        cells = f["category"] == 1
        assert samples.table["n_cells"][index] == cells.sum()
        assert (f["cell"][~cells] == -1).all() and (f["cluster"][~cells] == -1).all()
        assert (event.energy[~cells] == 0).all() and (event.energy[cells] > 0).all()
        assert len(set(f["cell"][cells].tolist())) == cells.sum()
        assert (np.diff(f["category"]) >= 0).all()
        for column in ("sigma_gev", "deta", "dphi"):
            assert (f[column][~cells] == 0).all() and (f[column][cells] > 0).all()
        assert (event.n_points, 3) == event.coords.shape and event.coords.dtype == np.float32
        assert event.energy.dtype == np.float32
        first = int((f["category"] < 1).sum())
        expected = slow_links(geo, f["cell"][cells])
        np.testing.assert_array_equal(event.links - first, np.array([e[:2] for e in expected]).reshape(-1, 2))
        np.testing.assert_array_equal(event.link_kind, [e[2] for e in expected])
        order = event.links[:, 1] * 10 + event.link_kind
        assert (np.diff(order) > 0).all()
        assert event.links.dtype == event.link_kind.dtype == np.int64
    with pytest.raises(IndexError):
        samples[len(samples)]
    assert samples[-1].event_id == samples.event_ids[-1]
    copy = pickle.loads(pickle.dumps(samples))
    np.testing.assert_array_equal(copy[0].coords, samples[0].coords)


def test_a_cluster_is_a_sample(tmp_path, rng, geo):
    tree = pions(rng, geo)
    samples = source(tmp_path, geo, tree, "cluster")
    assert len(samples) == 18 and not samples.dropped
    assert samples.event_ids[4] == "train/events:0000001:0001"
    same_event = [i.rpartition(":")[0] for i in samples.event_ids]
    np.testing.assert_array_equal(samples.units, np.unique(same_event, return_inverse=True)[1])
    rows = row_of(geo)
    for index, (event, (row, cells)) in enumerate((e, c) for e in range(6) for c in clusters_of(tree, e)):
        one = samples[index]
        at = [rows[int(i)] for i in tree.cells["cluster_cell_ID"][cells]]
        np.testing.assert_array_equal(one.features["cell"], at)
        np.testing.assert_array_equal(one.energy, tree.cells["cluster_cell_E"][cells])
        eta, phi = tree.clusters["cluster_Eta"][row], tree.clusters["cluster_Phi"][row]
        np.testing.assert_allclose(one.coords[:, 0], (geo.eta[at] - eta) / 0.025, atol=1e-4)
        np.testing.assert_allclose(one.coords[:, 1], wrap(geo.phi[at] - phi) / (2 * np.pi / 256), atol=1e-4)
        barrel = geo.sampling[at] != SAMPLINGS["EME2"]
        np.testing.assert_allclose(one.coords[barrel, 2], (geo.r_perp_mm[at][barrel] - 1500) / 43, rtol=1e-5)
        assert int(one.labels["pion"]) == (0 if event % 2 else 1) == samples.table["pion"][index]
        true = tree.clusters["cluster_ENG_CALIB_TOT"][row]
        assert one.labels["true_energy"] == true == samples.table["true_energy"][index]
        assert np.isclose(one.labels["log_true_energy"], np.log10(true))
        assert one.scalars["cluster_e"] == tree.clusters["cluster_E"][row]
        assert one.scalars["lc_energy"] == tree.clusters["cluster_E_LCCalib"][row]
        assert one.scalars["n_cells"] == tree.n_cells[row]
        assert "true_energy" not in one.scalars
        assert (one.features["track_distance"] == 0).all() and (one.features["track"] == -1).all()


def test_clusters_across_the_seam_of_phi_stay_together(tmp_path, rng, geo):
    tree = pions(rng, geo)  # the first event lies at phi = pi
    one = source(tmp_path, geo, tree, "cluster")[0]
    assert np.ptp(one.features["phi"]) > 6
    assert np.ptp(one.coords[:, 1]) < 40
    assert one.features["delta_r"].max() < 1
    track = source(tmp_path, geo, tree, "track")[0]
    assert np.ptp(track.coords[:, 1]) < 40 and track.features["track_distance"].max() < 40


def test_clusters_that_are_no_samples_are_counted(tmp_path, rng, geo):
    tree = pions(rng, geo)
    tree = altered(altered(tree, "clusters", "cluster_ENG_CALIB_TOT", 4, 0), "clusters", "cluster_ENG_CALIB_TOT", 9, -1)
    tree = altered(tree, "events", "mcChannelNumber", 5, 900148)
    tree = altered(tree, "truth", "truthPartPdgId", 5, 130)
    samples = source(tmp_path, geo, tree, "cluster")
    assert samples.dropped == {"no_true_energy": 2, "not_a_single_pion": 3}
    assert len(samples) == 13
    assert not any(i.startswith(("train/events:0000001:0001", "train/events:0000005")) for i in samples.event_ids)


def test_single_pions_are_told_by_channel_or_by_truth(tmp_path, rng, geo):
    particles = [[211], [-211], [111], [111, 22, 22], [111, 22, 11, -11]]  # single pions
    particles += [[211, 22], [211, -211], [111, 211], [22], [130]]  # others
    by_truth = source(tmp_path, geo, make_tree(rng, geo, particles, 1, channel=12), "cluster")
    assert [int(i.split(":")[1]) for i in by_truth.event_ids] == [0, 1, 2, 3, 4]
    assert by_truth.table["pion"].tolist() == [1, 1, 0, 0, 0]
    by_channel = source(tmp_path, geo, make_tree(rng, geo, particles, 1, channel=900246), "cluster", "channel")
    assert len(by_channel) == 10 and not by_channel.table["pion"].any()


def test_only_clusters_near_the_track_make_a_track_sample(tmp_path, rng, geo):
    tree = altered(pions(rng, geo), "clusters", "cluster_Eta", 1, 1.5)  # of event 0
    samples = source(tmp_path, geo, tree, "track")
    rows = row_of(geo)
    for index, event in enumerate((0, 2, 4)):
        one = samples[index]
        chosen = [c for i, c in enumerate(clusters_of(tree, event)) if (event, i) != (0, 1)]
        total: dict[int, float] = {}
        for _, cells in chosen:
            for cell, e in zip(tree.cells["cluster_cell_ID"][cells], tree.cells["cluster_cell_E"][cells], strict=True):
                total[rows[int(cell)]] = total.get(rows[int(cell)], 0.0) + float(e)
        cells = one.features["category"] == 1
        assert set(one.features["cell"][cells].tolist()) == set(total)
        np.testing.assert_allclose(one.energy[cells], [total[r] for r in one.features["cell"][cells]], rtol=1e-6)
        assert len(total) < sum(c.stop - c.start for _, c in chosen)  # some are shared
        e = tree.clusters["cluster_E"][[k for k, _ in chosen]]
        assert one.scalars["n_clusters"] == len(chosen)
        assert np.isclose(one.scalars["sum_e"], e.sum())
        assert np.isclose(one.energy.sum(), sum(tree.cells["cluster_cell_E"][c].sum() for _, c in chosen), rtol=1e-5)
        np.testing.assert_allclose([one.scalars[f"cluster_e_{i}"] for i in range(10)], [*e, *[0] * (10 - len(e))])
        ordinal = one.features["cluster"][cells]
        assert set(ordinal.tolist()) == set(range(len(chosen)))
        np.testing.assert_array_equal(one.features["cluster_e_of_cell"][cells], e[ordinal])
        true = tree.truth["truthPartE"][event]
        assert np.isclose(one.labels["log_true_energy"], np.log10(true)) and int(one.labels["pion"]) == 1
        assert (one.features["category"] == 0).sum() == 4  # EMB1 to EMB3 and TileBar0
        np.testing.assert_array_equal(one.features["sampling"][:4], [1, 2, 3, 12])
        assert (np.diff(one.features["delta_r"][cells]) >= 0).all()


def test_events_that_are_no_track_samples_are_counted(tmp_path, rng, geo):
    tree = make_tree(rng, geo, [[211], [111], [130], [211, 321], [211], [211]], channel=None)
    tree = altered(tree, "tracks", "trackPt", 3, 2e5)  # of event 4
    for cluster in (15, 16, 17):  # of event 5
        tree = altered(tree, "clusters", "cluster_Eta", cluster, 1.4)
    samples = source(tmp_path, geo, tree, "track")
    assert samples.event_ids == ("train/events:0000000:0000",)
    assert samples.dropped == {
        "not_a_single_charged_pion": 1, "no_track": 1, "several_tracks": 1, "track_pt_out_of_range": 1,
        "no_cluster_near_the_track": 1,
    }  # fmt: skip


def test_an_association_is_what_lies_around_a_track(tmp_path, rng, geo):
    tree = mixtures(rng, geo)
    samples = source(tmp_path, geo, tree, "association")
    assert len(samples) == 8
    rows = row_of(geo)
    for index in range(8):
        one, event = samples[index], index // 2
        assert one.event_id == f"train/events:{event:07d}:{index % 2:04d}"
        eta, phi = tree.tracks["trackEta_EMB2"][index], tree.tracks["trackPhi_EMB2"][index]
        focus = tree.tracks["trackTruthParticleIndex"][index]
        energy: dict[int, float] = {}
        truth: dict[int, np.ndarray] = {}
        for _, cells in clusters_of(tree, event):
            for i in range(cells.start, cells.stop):
                row = rows[int(tree.cells["cluster_cell_ID"][i])]
                if np.hypot(geo.eta[row] - eta, wrap(geo.phi[row] - phi)) > 0.2:
                    continue
                energy[row] = energy.get(row, 0) + float(tree.cells["cluster_cell_E"][i])
                parts = truth.setdefault(row, np.zeros(3))
                index_of, e_of = (tree.hits[f"cluster_cell_hitsTruth{n}"][i] for n in ("Index", "E"))
                for k, e in zip(index_of, e_of, strict=True):
                    if k >= 0:
                        pdg = tree.truth["truthPartPdgId"][4 * event + k]
                        parts[0 if k == focus else 1 if abs(pdg) == 211 else 2] += e
        f, category = one.features, one.features["category"]
        cells = category == 1
        assert set(f["cell"][cells].tolist()) == set(energy)
        np.testing.assert_allclose(one.energy[cells], [energy[r] for r in f["cell"][cells]], rtol=1e-6)
        expected = np.array([truth[r] / truth[r].sum() if truth[r].sum() else (0, 0, 1) for r in f["cell"][cells]])
        fractions = one.labels["fractions"]
        np.testing.assert_allclose(fractions[cells], expected, atol=1e-6)
        np.testing.assert_allclose(fractions[cells].sum(axis=1), 1, atol=1e-6)
        assert (fractions[~cells] == 0).all() and fractions.dtype == np.float32
        np.testing.assert_array_equal(one.labels["focus"], np.where(cells, fractions[:, 0] > 0.5, -1))
        assert (np.diff(f["delta_r"][cells]) >= 0).all() and f["delta_r"].max() <= 0.2 + 1e-6
        other = 2 * event + 1 - index % 2
        assert (category == 0).sum() == 4 and (f["track"][category == 0] == 0).all()
        assert (f["track"][category == 2] == 1).all() and (f["track"][cells] == -1).all()
        assert (f["track_pt"][category == 2] == tree.tracks["trackPt"][other]).all()
        assert (f["track_pt"][category == 0] == tree.tracks["trackPt"][index]).all()
        assert (f["track_pt"][cells] == 0).all()
        assert set(f["cluster"][cells].tolist()) <= set(range(int(one.scalars["n_clusters"])))
        at = f["cell"][cells]
        distance = np.hypot((geo.eta[at] - eta) / 0.025, wrap(geo.phi[at] - phi) / (2 * np.pi / 256))
        np.testing.assert_allclose(f["track_distance"][cells], distance, rtol=1e-3, atol=1e-4)


def test_distances_are_to_the_crossing_of_the_own_layer(tmp_path, rng, geo):
    tree = mixtures(rng, geo)
    moved = altered(tree, "tracks", "trackEta_EMB3", 0, tree.tracks["trackEta_EMB3"][0] + 0.1)
    before = source(tmp_path, geo, tree, "association")[0].features
    after = source(tmp_path, geo, moved, "association", "moved")[0].features
    changed = before["track_distance"] != after["track_distance"]
    np.testing.assert_array_equal(changed, (before["sampling"] == SAMPLINGS["EMB3"]) & (before["category"] > 0))
    assert changed.any() and not changed.all()


def test_other_tracks_are_numbered_by_ascending_momentum(tmp_path, rng, geo):
    tree = make_tree(rng, geo, [[211, -211, 211, 321, 111]], channel=900148)
    samples = source(tmp_path, geo, tree, "association")
    for index in range(4):
        f = samples[index].features
        other = f["category"] == 2
        pt = [f["track_pt"][f["track"] == k][0] for k in range(1, f["track"].max() + 1)]
        assert len(pt) == len(set(f["track_pt"][other].tolist())) > 0
        assert pt == sorted(pt)
        assert (np.diff(f["track"][other]) >= 0).all()


def test_tracks_without_a_particle_are_counted(tmp_path, rng, geo):
    tree = altered(mixtures(rng, geo), "tracks", "trackTruthParticleIndex", 3, -1)
    samples = source(tmp_path, geo, tree, "association")
    assert samples.dropped == {"track_without_particle": 1}
    assert len(samples) == 7 and "train/events:0000001:0001" not in samples.event_ids
    others = samples[2].features  # event 1's first track still sees the other one
    assert (others["category"] == 2).any()


def test_the_order_of_the_geometry_changes_nothing(tmp_path, rng, geo):
    other = shuffled(geo, rng.permutation(len(geo.cell_id)))
    for sample in SAMPLES:
        tree = mixtures(rng, geo) if sample == "association" else pions(rng, geo)
        one = source(tmp_path, geo, tree, sample, f"{sample}-one")
        two = source(tmp_path, other, tree, sample, f"{sample}-two")
        for a, b in zip(one, two, strict=True):
            # cells at the same distance may stand in another order
            key = [np.lexsort((e.features["sampling"], e.features["phi"], e.features["eta"], e.features["category"]))
                   for e in (a, b)]  # fmt: skip
            for name in ("eta", "phi", "sampling", "delta_r", "track_distance", "cluster_e_of_cell"):
                np.testing.assert_array_equal(a.features[name][key[0]], b.features[name][key[1]])
            np.testing.assert_array_equal(a.energy[key[0]], b.energy[key[1]])
            assert a.scalars == b.scalars and len(a.links) == len(b.links)
            ids = [d.cell_id[e.features["cell"][e.features["cell"] >= 0]] for d, e in ((geo, a), (other, b))]
            assert set(ids[0]) == set(ids[1])


def test_nothing_is_padded_or_cut_off(tmp_path, rng, geo):
    big = make_tree(rng, geo, [[211, -211, 111]], n_clusters=30, channel=900148, sizes=(200, 300))
    one = source(tmp_path, geo, big, "association")[0]
    ids = {int(i) for i in big.cells["cluster_cell_ID"]}
    eta, phi = big.tracks["trackEta_EMB2"][0], big.tracks["trackPhi_EMB2"][0]
    near = np.hypot(geo.eta - eta, wrap(geo.phi - phi)) <= 0.2
    inside = [r for r, i in enumerate(geo.cell_id) if int(i) in ids and near[r]]
    assert (one.features["category"] == 1).sum() == len(inside)
    assert set(np.unique(one.features["category"])) == {0, 1, 2}


def test_links_of_no_cells_and_of_colliding_rows(geo):
    links, kinds = links_among(geo.neighbours, np.zeros(0, np.int64))
    assert links.shape == (0, 2) and kinds.shape == (0,)
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 17, 500, len(geo.cell_id)):
        rows = rng.permutation(len(geo.cell_id))[:n]
        links, kinds = links_among(geo.neighbours, rows)
        assert list(zip(*links.T.tolist(), kinds.tolist(), strict=True)) == slow_links(geo, rows)


def test_needed_branches_are_asked_for_where_they_are_needed(tmp_path, rng, geo):
    tree = mixtures(rng, geo)
    bare = without(tree, "hits", "cluster_cell_hitsTruthIndex", "cluster_cell_hitsTruthE")
    with pytest.raises(DataError, match=r"train/events has no branch cluster_cell_hitsTruth\w+, which association"):
        source(tmp_path, geo, bare, "association", "no-hits")
    single = pions(rng, geo)
    with pytest.raises(DataError, match="has no branch trackEta_EMB2, which track samples are made of"):
        source(tmp_path, geo, without(single, "tracks", "trackEta_EMB2"), "track", "no-layer")
    with pytest.raises(DataError, match="has no branch trackTruthParticleIndex"):
        source(tmp_path, geo, without(tree, "tracks", "trackTruthParticleIndex"), "association", "no-index")
    with pytest.raises(DataError, match="has no branch cluster_ENG_CALIB_TOT"):
        source(tmp_path, geo, without(single, "clusters", "cluster_ENG_CALIB_TOT"), "cluster", "no-truth")
    few = without(without(single, "tracks", *single.tracks), "hits", *single.hits)
    few = without(few, "clusters", "cluster_EM_PROBABILITY")
    few = replace(few, n_tracks=np.zeros(6, np.int64))
    one = source(tmp_path, geo, few, "cluster", "few")[0]
    assert "em_probability" not in one.scalars and "hadronic_weight" in one.scalars
    with pytest.raises(DataError, match="truthPartE above 0 GeV was expected"):
        source(tmp_path, geo, altered(single, "truth", "truthPartE", 2, 0), "track", "no-energy")


def test_a_source_without_samples_says_why(tmp_path, rng, geo):
    with pytest.raises(DataError, match=r"hold no association sample \(3 of_a_single_pion\)"):
        source(tmp_path, geo, pions(rng, geo), "association")
    with pytest.raises(DataError, match=r"hold no track sample \(4 not_a_single_charged_pion\)"):
        source(tmp_path, geo, mixtures(rng, geo), "track", "other")


def test_a_folder_opens_and_no_event_is_in_two_splits(tmp_path, rng, geo):
    root = write_folder(tmp_path / "data", rng, geo)
    dataset = open_calorimeter(root, INFO, prefixes={"cluster": "pions", "association": "mixtures"})
    assert dataset.splits == ("train", "val", "test")
    assert sorted(dataset.files) == list(dataset.files) and len(dataset.files) == 7
    assert dataset.revision.startswith("mltree-")
    assert open_calorimeter(root, INFO).revision == dataset.revision
    for sample in SAMPLES:
        ids = [{tuple(i.split(":")[:2]) for i in dataset.events(s, sample).event_ids} for s in dataset.splits]
        assert all(not a & b for a, b in itertools.combinations(ids, 2)) and all(ids)
    assert {i.split("/")[1][:5] for i in dataset.events("test", "cluster").event_ids} == {"pions"}
    assert not dataset.events("train", "cluster").dropped  # mixtures are in other files
    assert open_calorimeter(root, INFO).events("train", "cluster").dropped == {"not_a_single_pion": 18}
    with pytest.raises(DataError, match=r"has no sample 'event'. One of association, cluster, track was expected"):
        dataset.events("train")
    with pytest.raises(DataError, match=r"no file for track samples\. Files named gamma"):
        open_calorimeter(root, INFO, prefixes={"track": "gamma"}).events("train", "track")
    (root / "test" / "copy.npy").write_bytes((root / "train" / "pions_0000.npy").read_bytes())
    with pytest.raises(DataError, match=r"copy\.npy holds the same events as .+train/pions_0000\.npy"):
        open_calorimeter(root, INFO)


def test_folders_that_do_not_fit_are_refused(tmp_path, rng, geo):
    with pytest.raises(DataError, match="There is no folder"):
        SPEC.open(Config(), tmp_path / "none")
    with pytest.raises(DataError, match="has no files of its own"):
        SPEC.open(Config(), None)
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has no \.npy or \.root file in a folder train, val or test"):
        SPEC.open(Config(), tmp_path / "empty")
    root = write_folder(tmp_path / "data", rng, geo, {"train": 4})
    with pytest.raises(DataError, match="no files for the split 'val'; it has train"):
        SPEC.open(Config(), root).events("val", "cluster")
    (root / "cell_geo.npy").unlink()
    with pytest.raises(DataError, match=r"has no cell_geo\.npy or cell_geo\.root"):
        SPEC.open(Config(), root)
    with pytest.raises(ValueError, match="files=-1"):
        Config(files=-1)


def test_root_files_with_their_geometry_open(tmp_path, rng, geo):
    pytest.importorskip("uproot")
    tree = mixtures(rng, geo)
    write_root(tmp_path / "root" / "train" / "events.root", tree, geo)
    dataset = SPEC.open(Config(), tmp_path / "root")
    expected = source(tmp_path, geo, tree, "association")
    found = dataset.events("train", "association")
    assert found.event_ids == expected.event_ids
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.coords, b.coords)
        np.testing.assert_array_equal(a.labels["fractions"], b.labels["fractions"])


def test_files_of_one_name_or_with_other_branches_are_refused(tmp_path, rng, geo):
    root = write_folder(tmp_path / "data", rng, geo, {"train": 4})
    _mltree_npy.write_tree(
        root / "train" / "pions_0001.npy", without(pions(rng, geo), "clusters", "cluster_EM_PROBABILITY")
    )
    with pytest.raises(DataError, match="do not both have the branch cluster_EM_PROBABILITY"):
        open_calorimeter(root, INFO, prefixes={"cluster": "pions"}).events("train", "cluster")
    assert len(open_calorimeter(root, INFO, max_files=1).files) == 2
    (root / "train" / "pions_0001.root").write_bytes(b"")
    with pytest.raises(DataError, match="have the same name"):
        open_calorimeter(root, INFO)


@pytest.mark.parametrize("name", INFO.tasks)
def test_samples_become_batches_of_every_task(tmp_path, rng, geo, name):
    task = TASKS[name]
    root = write_folder(tmp_path / "data", rng, geo)
    samples = open_calorimeter(root, INFO).events("train", task.sample)
    preparation = replace(CellPreprocess.of(task), min_cells=1)
    eligible = preparation.eligible(samples, task)
    assert len(eligible.indices)
    batch = preparation.apply(samples[int(eligible.indices[0])], task, FRAME)
    assert np.isfinite(batch.feats).all() and np.isfinite(batch.whole.feats).all()
    assert batch.links.ends is not None and len(batch.target)


def test_a_simulated_folder_opens_by_its_manifest(tmp_path, rng, geo):
    root = write_folder(tmp_path / "data", rng, geo)
    with pytest.raises(DataError, match=r"simulation\.json"):
        calo_sim.SPEC.open(calo_sim.Config(), root)
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.npy"))
    atomic_write_json(
        root / "simulation.json", {"revision": "calo-abc", "files": {n: sha256_file(root / n) for n in names}}
    )
    dataset = calo_sim.SPEC.open(calo_sim.Config(), root)
    assert dataset.revision == "calo-abc" and dataset.info.name == "calo-sim"
    assert len(dataset.events("val", "cluster")) == 6 and len(dataset.events("val", "association")) == 4
    (root / "val" / "pions_0000.npy").unlink()
    with pytest.raises(DataError, match=r"lacks val/pions_0000\.npy"):
        calo_sim.SPEC.open(calo_sim.Config(), root)
    with pytest.raises(DataError, match="There is no folder"):
        calo_sim.SPEC.open(calo_sim.Config(), tmp_path / "none")
    with pytest.raises(ValueError, match="mixtures_val=0"):
        calo_sim.Config(mixtures_val=0)
