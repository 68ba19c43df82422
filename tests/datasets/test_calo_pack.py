"""Packed calorimeter events: whatever a pack holds is recomputed here, one event and one cell at a time."""

import json
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmark.datasets import _calo_pack, _mltree_npy
from benchmark.datasets._calo_pack import depth_of, event_pack, geometry_pack, is_charged, wrapped
from benchmark.datasets._mltree import DISTANCE_MM, RADIUS_MM, SAMPLINGS
from benchmark.errors import DataError
from builders.calo_files import altered, mixtures, pions, shuffled, wrap, write_root


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def geometry(tmp_path, geo):
    _mltree_npy.write_geometry(tmp_path / "cell_geo.npy", geo)
    return geometry_pack(tmp_path / "cell_geo.npy", tmp_path / "packs")


def packed(tmp_path, tree, geometry, name="events"):
    _mltree_npy.write_tree(tmp_path / f"{name}.npy", tree)
    return event_pack(tmp_path / f"{name}.npy", geometry, tmp_path / "packs")


def by_event(tree):
    """(event, clusters, and for each the slice of its cells)."""
    ends, cluster = np.cumsum(tree.n_cells), 0
    for event, n in enumerate(tree.n_clusters):
        rows = range(cluster, cluster + n)
        yield event, list(rows), [slice(ends[k] - tree.n_cells[k], ends[k]) for k in rows]
        cluster += n


def test_a_pack_holds_the_tables_of_its_file(tmp_path, rng, geo, geometry):
    tree = mixtures(rng, geo)
    pack = packed(tmp_path, tree, geometry)
    np.testing.assert_array_equal(geo.cell_id[pack.cell_row], tree.cells["cluster_cell_ID"])
    np.testing.assert_array_equal(pack.cell_e, tree.cells["cluster_cell_E"])
    np.testing.assert_array_equal(pack.hit_index, tree.hits["cluster_cell_hitsTruthIndex"])
    np.testing.assert_array_equal(pack.cluster[:, 1], tree.clusters["cluster_Eta"])
    np.testing.assert_array_equal(pack.track[:, 0], tree.tracks["trackPt"])
    np.testing.assert_array_equal(pack.track_layers[:, SAMPLINGS["EMB3"], 0], tree.tracks["trackEta_EMB3"])
    np.testing.assert_array_equal(pack.first_cluster, np.arange(5) * 3)
    np.testing.assert_array_equal(pack.first_track, np.arange(5) * 2)
    assert pack.n_events == 4
    assert "cluster_cell_hitsTruthE" in pack.branches


def test_merging_sums_the_energies_of_shared_cells(tmp_path, rng, geo, geometry):
    tree = mixtures(rng, geo)
    pack = packed(tmp_path, tree, geometry)
    n_shared = 0
    for event, _, cells in by_event(tree):
        shares: dict[int, list[float]] = {}
        for part in cells:
            columns = (tree.cells["cluster_cell_ID"][part], tree.cells["cluster_cell_E"][part])
            for cell, energy in zip(*columns, strict=True):
                shares.setdefault(int(cell), [0.0] * len(cells))[cells.index(part)] += float(energy)
        here = slice(pack.first_merged[event], pack.first_merged[event + 1])
        ids = geo.cell_id[pack.merged_row[here]]
        assert sorted(ids) == sorted(shares)
        np.testing.assert_allclose(pack.merged_e[here], [sum(shares[i]) for i in ids], rtol=1e-6)
        np.testing.assert_array_equal(pack.merged_cluster[here], [int(np.argmax(shares[i])) for i in ids])
        n_shared += sum(sum(e > 0 for e in s) > 1 for s in shares.values())
        entries = slice(cells[0].start, cells[-1].stop)
        assert np.isclose(pack.merged_e[here].sum(), tree.cells["cluster_cell_E"][entries].sum(), rtol=1e-5)
        np.testing.assert_array_equal(ids[pack.cell_merged[entries]], tree.cells["cluster_cell_ID"][entries])
    assert n_shared > 10


def test_what_is_near_a_track_is_counted(tmp_path, rng, geo, geometry):
    tree = mixtures(rng, geo)
    pack = packed(tmp_path, tree, geometry)
    n_far = 0
    for track in range(len(pack.track)):
        event = track // 2
        axis = (tree.tracks["trackEta_EMB2"][track], tree.tracks["trackPhi_EMB2"][track])
        np.testing.assert_array_equal(pack.track_axis[track], np.float32(axis))
        cells = {c for e, _, parts in by_event(tree) if e == event for p in parts for c in pack.cell_row[p].tolist()}
        near = [c for c in cells if np.hypot(geo.eta[c] - axis[0], wrap(geo.phi[c] - axis[1])) <= 0.2]
        assert len(near) > 10
        n_far += len(cells) - len(near)
        assert pack.track_cells[track] == len(near)
        other = 2 * event + 1 - track % 2
        layers = [n for n in ("EMB1", "EMB2", "EMB3", "TileBar0")]
        at = [(tree.tracks[f"trackEta_{n}"][other], tree.tracks[f"trackPhi_{n}"][other]) for n in layers]
        assert pack.track_others[track] == sum(np.hypot(a - axis[0], wrap(b - axis[1])) <= 0.2 for a, b in at)
        assert pack.n_track_points[track] == len(layers)  # the pre-sampler's place is not known
    assert n_far > 10


def test_axes_fall_back_to_the_endcap_and_to_the_measured_direction(tmp_path, rng, geo, geometry):
    tree = pions(rng, geo, 2)
    lost = altered(altered(tree, "tracks", "trackEta_EMB2", 0, -1e9), "tracks", "trackPhi_EMB2", 0, -1e9)
    measured = [tree.tracks[f"track{a}"][0] for a in ("Eta", "Phi")]
    np.testing.assert_array_equal(packed(tmp_path, lost, geometry).track_axis[0], measured)
    endcap = altered(altered(lost, "tracks", "trackEta_EME2", 0, 1.9), "tracks", "trackPhi_EME2", 0, 0.5)
    np.testing.assert_array_equal(packed(tmp_path, endcap, geometry, "other").track_axis[0], np.float32([1.9, 0.5]))


def test_crossings_lie_at_the_radius_or_distance_of_their_layer(tmp_path, rng, geo, geometry):
    tree = pions(rng, geo, 1)
    for layer in ("EMB2", "HEC1", "EME3", "TileExt2"):
        tree = altered(altered(tree, "tracks", f"trackEta_{layer}", 0, 1.7), "tracks", f"trackPhi_{layer}", 0, 1.0)
    point = packed(tmp_path, tree, geometry).point
    place = {int(s): i for i, s in enumerate(point[:, 0])}
    assert len(point) == 7
    for layer, mm in RADIUS_MM.items():
        if SAMPLINGS[layer] in place:
            r = point[place[SAMPLINGS[layer]]]
            assert r[3] == np.float32(mm)
            assert np.isclose(r[4], (mm - 1500) / 43)
    for layer in ("HEC1", "EME3"):
        r = point[place[SAMPLINGS[layer]]]
        assert np.isclose(r[3] * np.sinh(1.7), DISTANCE_MM[layer], rtol=1e-5)
        assert np.isclose(r[4], (DISTANCE_MM[layer] - 3700) / 43, rtol=1e-4)


def test_depth_is_along_the_radius_or_the_beam():
    r_perp_mm = np.array([1543.0, 1100.0, 2995.0, 1250.0])
    depth = depth_of(np.array([2, 6, 13, 9]), np.array([1.0, -2.0, 0.5, 2.0]), r_perp_mm)
    z = [abs(1100 * np.sinh(-2.0)), 1250 * np.sinh(2.0)]
    np.testing.assert_allclose(depth, [1, (z[0] - 3700) / 43, 1495 / 43, (z[1] - 3700) / 43])


def test_charges_follow_from_pdg_numbers():
    charged = [11, -13, 15, 211, -211, 321, 411, 431, 521, 2212, -2212, 3112, 3222, 3312, 3334, 24, 1000010020, 213]
    neutral = [22, 12, -14, 16, 111, 130, 310, 311, 2112, -2112, 3122, 3212, 3322, 421, 511, 23, 25, 113, 221, 333, 0]
    assert is_charged(np.array(charged)).all()
    assert not is_charged(np.array(neutral)).any()


def test_angles_are_wrapped():
    angles = np.array([0.0, 3.0, 3.2, -3.2, 6.3])
    np.testing.assert_allclose(wrapped(angles), wrap(angles), atol=1e-12)


def test_a_pack_is_built_once_and_opened_at_once(tmp_path, rng, geo, geometry, monkeypatch):
    pack = packed(tmp_path, mixtures(rng, geo), geometry)
    monkeypatch.setattr(_calo_pack, "guarded", None)  # cannot be called again
    times = []
    for _ in range(5):
        start = time.perf_counter()
        again = event_pack(tmp_path / "events.npy", geometry, tmp_path / "packs")
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05
    assert again.folder == pack.folder
    copy = pickle.loads(pickle.dumps(again))
    assert len(pickle.dumps(again)) < 20_000
    np.testing.assert_array_equal(copy.cell_e, pack.cell_e)
    assert not [p for p in sorted((tmp_path / "packs").iterdir()) if p.name.startswith(".")]
    with pytest.raises(AttributeError):
        _ = pack.no_such_column


def test_other_content_geometry_or_format_make_another_pack(tmp_path, rng, geo, geometry, monkeypatch):
    tree = mixtures(rng, geo)
    first = packed(tmp_path, tree, geometry).folder
    assert packed(tmp_path, altered(tree, "clusters", "cluster_E", 0, 9.5), geometry).folder != first
    _mltree_npy.write_geometry(tmp_path / "other.npy", shuffled(geo, rng.permutation(len(geo.cell_id))))
    other = geometry_pack(tmp_path / "other.npy", tmp_path / "packs")
    moved = packed(tmp_path, tree, other)
    assert moved.folder != first
    np.testing.assert_array_equal(other.cell_id[moved.cell_row], tree.cells["cluster_cell_ID"])
    monkeypatch.setattr(_calo_pack, "FORMAT", _calo_pack.FORMAT + 1)
    assert _calo_pack._manifest(first) is None  # of the earlier format


def test_a_damaged_pack_is_built_again(tmp_path, rng, geo, geometry):
    pack = packed(tmp_path, mixtures(rng, geo), geometry)
    whole = pack.cell_e.copy()
    (pack.folder / "cell_e.bin").write_bytes(b"short")
    np.testing.assert_array_equal(event_pack(tmp_path / "events.npy", geometry, tmp_path / "packs").cell_e, whole)
    (pack.folder / "manifest.json").write_text("{")
    assert event_pack(tmp_path / "events.npy", geometry, tmp_path / "packs").n_events == 4


def test_a_damaged_source_leaves_no_pack(tmp_path, rng, geo, geometry):
    tree = altered(mixtures(rng, geo), "cells", "cluster_cell_E", 7, np.nan)
    before = sorted((tmp_path / "packs").iterdir())
    with pytest.raises(DataError, match=r"events\.npy, event 0, cluster 0, cell 7: cluster_cell_E is nan"):
        packed(tmp_path, tree, geometry)
    assert sorted((tmp_path / "packs").iterdir()) == before
    bad = replace(geo, neighbours=geo.neighbours + len(geo.cell_id))
    _mltree_npy.write_geometry(tmp_path / "bad.npy", bad)
    with pytest.raises(DataError, match=r"bad\.npy: cell \d+ has the neighbours"):
        geometry_pack(tmp_path / "bad.npy", tmp_path / "packs")


def test_a_root_file_makes_the_same_pack_in_steps(tmp_path, rng, geo, geometry):
    pytest.importorskip("uproot")
    tree = mixtures(rng, geo)
    pack = packed(tmp_path, tree, geometry)
    write_root(tmp_path / "both.root", tree, geo)
    own = geometry_pack(tmp_path / "both.root", tmp_path / "packs")
    arguments = (str(tmp_path / "both.root"), str(tmp_path / "stepped"), {}, str(own.folder))
    _calo_pack.build_events(lambda n: None, *arguments, step=1)
    stepped = _calo_pack.EventPack(tmp_path / "stepped", _calo_pack._manifest(tmp_path / "stepped"))
    for name in pack.manifest["columns"]:
        np.testing.assert_array_equal(getattr(stepped, name), getattr(pack, name))
    np.testing.assert_array_equal(own.table, geometry.table)
    damaged = write_root(tmp_path / "bad.root", altered(tree, "cells", "cluster_cell_E", -1, np.nan), geo)
    with pytest.raises(DataError, match=r"bad\.root \(counted from event 3\), event 0, cluster 2"):
        _calo_pack.build_events(lambda n: None, str(damaged), str(tmp_path / "bad"), {}, str(own.folder), step=1)
    assert not (tmp_path / "bad").exists()


def test_the_manifest_names_source_and_checksums(tmp_path, rng, geo, geometry):
    pack = packed(tmp_path, mixtures(rng, geo), geometry)
    manifest = json.loads((pack.folder / "manifest.json").read_text())
    assert manifest["source"]["file"] == "events.npy"
    assert len(manifest["source"]["sha256"]) == 64
    assert manifest["files"].keys() == {f"{name}.bin" for name in manifest["columns"]}
