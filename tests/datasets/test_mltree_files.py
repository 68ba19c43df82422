"""MLTree files: `.npy` and `.root` give the same tables, what is damaged is refused by name, nothing of a file runs."""

import os
import pickle
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchmark.datasets import _mltree_npy, _mltree_root
from benchmark.datasets._mltree_check import (
    REQUIRED,
    Jagged,
    check,
    check_geometry,
    concatenated,
    joined,
    without_tails,
)
from benchmark.errors import DataError, MissingPackageError, RecordError
from benchmark.registry import dataset_spec
from builders.calo_files import altered, make_geometry, mixtures, pions, same, shuffled, without, write_root
from builders.mltreemaker import FILE as MLTREEMAKER
from builders.mltreemaker import tables

READERS = ("npy", "root")


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def save(path, content):
    boxed = np.empty((), dtype=object)
    boxed[()] = content
    np.save(path, boxed, allow_pickle=True)
    return path


def load(path):
    return np.load(path, allow_pickle=True).item()


def written(tmp_path, kind, tree, geo):
    if kind == "root":
        pytest.importorskip("uproot")
        return write_root(tmp_path / "events.root", tree, geo), tmp_path / "events.root", _mltree_root
    _mltree_npy.write_tree(tmp_path / "events.npy", tree)
    _mltree_npy.write_geometry(tmp_path / "cell_geo.npy", geo)
    return tmp_path / "events.npy", tmp_path / "cell_geo.npy", _mltree_npy


@pytest.mark.parametrize("kind", READERS)
def test_what_is_written_is_read(tmp_path, rng, geo, kind):
    for tree in (pions(rng, geo), mixtures(rng, geo)):
        events, geometry, reader = written(tmp_path, kind, tree, geo)
        same(tree, reader.read_tree(events))
        same(geo, reader.read_geometry(geometry))


def test_numpy_reads_the_dictionary_as_the_published_code_does(tmp_path, rng, geo):
    tree = pions(rng, geo)
    _mltree_npy.write_tree(tmp_path / "events.npy", tree)
    content = load(tmp_path / "events.npy")
    assert content["nCluster"][2] == 3
    assert content["mcChannelNumber"][1] == 900246
    assert content["trackPt"][0][0] == tree.tracks["trackPt"][0]
    assert content["cluster_E"][1][2] == tree.clusters["cluster_E"][5]
    n = tree.n_cells[0]
    ids = tree.cells["cluster_cell_ID"][n:][: tree.n_cells[1]]
    np.testing.assert_array_equal(content["cluster_cell_ID"][0][1], ids)
    np.testing.assert_array_equal(content["cluster_cell_hitsTruthE"][0][0][3], tree.hits["cluster_cell_hitsTruthE"][3])


def test_no_events_or_clusters_make_no_trouble(tmp_path, rng, geo):
    tree = pions(rng, geo, 2)
    first = int(tree.n_cells[:3].sum())
    bare = replace(
        tree, n_clusters=np.array([3, 0]), clusters={k: v[:3] for k, v in tree.clusters.items()},
        n_cells=tree.n_cells[:3], cells={k: v[:first] for k, v in tree.cells.items()},
        hits={k: v[:first] for k, v in tree.hits.items()},
    )  # fmt: skip
    _mltree_npy.write_tree(tmp_path / "bare.npy", bare)
    same(bare, _mltree_npy.read_tree(tmp_path / "bare.npy"))


def test_other_layouts_of_the_same_content_are_read(tmp_path, rng, geo):
    tree = pions(rng, geo)
    _mltree_npy.write_tree(tmp_path / "events.npy", tree)
    content = load(tmp_path / "events.npy")
    objects = np.empty(len(content["cluster_cell_E"]), dtype=object)
    objects[:] = content["cluster_cell_E"]
    content["cluster_cell_E"] = objects  # an array of lists
    content["cluster_Eta"] = [np.array(v, ">f4") for v in content["cluster_Eta"]]  # arrays, of the other byte order
    content["trackPt"] = [[np.float32(v) for v in row] for row in content["trackPt"]]  # numpy's numbers
    content["cluster_E"] = np.array(content["cluster_E"], "f4")  # one table, as every event has three clusters
    content["cluster_cell_hitsTruthE"] = [[np.asfortranarray(c) for c in e] for e in content["cluster_cell_hitsTruthE"]]
    content["cluster_cell_ID"] = [[c.tolist() for c in e] for e in content["cluster_cell_ID"]]  # lists all the way
    content["deltaR"] = ["unknown branches are left"] * 6
    same(tree, _mltree_npy.read_tree(save(tmp_path / "other.npy", content)))


def test_fewer_hits_than_three_are_filled_up(tmp_path, rng, geo):
    tree = mixtures(rng, geo)
    _mltree_npy.write_tree(tmp_path / "events.npy", tree)
    content, whole = load(tmp_path / "events.npy"), load(tmp_path / "events.npy")
    for name in ("cluster_cell_hitsTruthIndex", "cluster_cell_hitsTruthE"):
        content[name] = [
            [[h[i >= 0].tolist() for h, i in zip(*cluster, strict=True)] for cluster in zip(*event, strict=True)]
            for event in zip(content[name], whole["cluster_cell_hitsTruthIndex"], strict=True)
        ]
    assert content["cluster_cell_hitsTruthE"][0][0][0] == []  # a cell of noise
    same(tree, _mltree_npy.read_tree(save(tmp_path / "ragged.npy", content)))


def test_optional_branches_may_be_absent(tmp_path, rng, geo):
    tree = without(pions(rng, geo), "hits", "cluster_cell_hitsTruthIndex", "cluster_cell_hitsTruthE")
    tree = without(tree, "tracks", "trackEta_EMB3", "trackPhi_EMB3", "trackMass")
    _mltree_npy.write_tree(tmp_path / "events.npy", tree)
    same(tree, _mltree_npy.read_tree(tmp_path / "events.npy"))


class Harmful:
    """What a pickle can hold: a call of anything."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, open, np.load, np.fromfile, pickle.loads, type])
def test_a_file_with_a_program_in_it_is_refused_and_not_run(tmp_path, function):
    mark = tmp_path / "mark"
    path = save(tmp_path / "bad.npy", {"cluster_E": Harmful(function, f"open({str(mark)!r}, 'w')")})
    with pytest.raises(DataError, match=r"bad\.npy was not opened: it names \S+\.\w+, which is no array"):
        _mltree_npy.read_tree(path)
    with pytest.raises(DataError, match="it names"):
        _mltree_npy.read_geometry(path)
    assert not mark.exists()


def test_arrays_with_pointers_or_cut_short_are_refused(tmp_path):
    record = np.zeros(2, np.dtype([("pointer", "u8"), ("more", "f4")]))
    with pytest.raises(DataError, match="has the type V12"):
        _mltree_npy.read_tree(save(tmp_path / "record.npy", {"cluster_E": record}))
    with pytest.raises(DataError, match="has the type U"):
        _mltree_npy.read_tree(save(tmp_path / "text.npy", {"cluster_E": np.array(["a"])}))
    text = pickle.dumps(np.arange(5.0), protocol=4)
    whole = (tmp_path / "text.npy").read_bytes()
    header = whole[: whole.index(b"\n") + 1]
    shorter = text.replace(b"K\x05\x85", b"K\x09\x85")  # a shape that the bytes do not fill
    assert shorter != text
    (tmp_path / "short.npy").write_bytes(header + shorter)
    with pytest.raises(DataError, match="cut short"):
        _mltree_npy.read_tree(tmp_path / "short.npy")


def test_every_protocol_of_pickle_is_read(tmp_path, rng, geo):
    tree = pions(rng, geo, 2)
    _mltree_npy.write_tree(tmp_path / "events.npy", tree)
    content = load(tmp_path / "events.npy")
    whole = (tmp_path / "events.npy").read_bytes()
    header = whole[: whole.index(b"\n") + 1]
    for protocol in (3, 4, 5):
        (tmp_path / "other.npy").write_bytes(header + pickle.dumps(content, protocol=protocol))
        same(tree, _mltree_npy.read_tree(tmp_path / "other.npy"))
    for module in (b"numpy._core", b"numpy.core"):  # names of numpy 2 and of numpy 1
        text = pickle.dumps(content, protocol=3).replace(b"numpy._core", module)
        (tmp_path / "other.npy").write_bytes(header + text)
        same(tree, _mltree_npy.read_tree(tmp_path / "other.npy"))


def test_damaged_npy_files_are_refused(tmp_path, rng, geo):
    whole = tmp_path / "events.npy"
    _mltree_npy.write_tree(whole, pions(rng, geo))
    (tmp_path / "cut.npy").write_bytes(whole.read_bytes()[:5000])
    np.save(tmp_path / "numbers.npy", np.arange(3))
    (tmp_path / "text.npy").write_text("no file of numpy")
    for name in ("cut.npy", "numbers.npy", "text.npy"):
        with pytest.raises(DataError, match=rf"{name} was not opened: .+\. A \.npy file with a dictionary .+ Check"):
            _mltree_npy.read_tree(tmp_path / name)
    with pytest.raises(DataError, match="holds no dictionary"):
        _mltree_npy.read_tree(save(tmp_path / "list.npy", [1, 2]))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        _mltree_npy.read_tree(tmp_path / "none.npy")


def test_branches_that_do_not_fit_are_refused(tmp_path, rng, geo):
    _mltree_npy.write_tree(tmp_path / "events.npy", pions(rng, geo))
    _mltree_npy.write_geometry(tmp_path / "geo.npy", geo)

    def refused(match, name, change, read=_mltree_npy.read_tree, source="events.npy"):
        content = load(tmp_path / source)
        if change is None:
            del content[name]
        else:
            change(content[name])
        with pytest.raises(DataError, match=match):
            read(save(tmp_path / "bad.npy", content))

    for name in REQUIRED:
        refused(f"no branch {name}", name, None)
    refused("nCluster counts 7 where the other branches have 3", "nCluster", lambda v: v.__setitem__(2, 7))
    refused("entry 1: cluster_Eta counts 4", "cluster_Eta", lambda v: v[1].append(0.0))
    refused("has 5 entries of eventNumber and 6 events", "eventNumber", lambda v: v.pop())
    refused("5 entries of trackEta where other branches have 6", "trackEta", lambda v: v.pop())
    refused("cluster_Phi is damaged", "cluster_Phi", lambda v: v[0].__setitem__(1, "text"))
    refused("cluster_E is damaged", "cluster_E", lambda v: v.__setitem__(1, None))
    refused("counts", "cluster_cell_ID", lambda v: v[0].__setitem__(0, v[0][0][:-1]))
    refused("truthPartPdgId has the value 0.5", "truthPartPdgId", lambda v: v[0].__setitem__(0, 0.5))
    refused("no branch cell_geo_phi", "cell_geo_phi", None, _mltree_npy.read_geometry, "geo.npy")
    refused(
        "entries of cell_geo_eta and 3840 cells", "cell_geo_eta", lambda v: v.__setitem__(0, v[0][1:]),
        _mltree_npy.read_geometry, "geo.npy",
    )  # fmt: skip


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, rng, geo):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match="could not be written"):
        _mltree_npy.write_tree(tmp_path / "file" / "events.npy", pions(rng, geo))
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["file"]


@pytest.mark.parametrize("step", [1, 2, 4, "10 kB"])
def test_root_files_are_read_in_steps(tmp_path, rng, geo, step):
    pytest.importorskip("uproot")
    tree = pions(rng, geo, 5)
    trees = list(_mltree_root.read_trees(write_root(tmp_path / "events.root", tree, geo), step))
    assert sum(t.n_events for t in trees) == 5
    assert step != 1 or len(trees) == 5
    same(tree, concatenated(trees))


def test_geometry_of_a_ttree_is_read(tmp_path, geo):
    uproot = pytest.importorskip("uproot")
    import awkward

    columns = {b: getattr(geo, field) for b, (field, _) in _mltree_npy.GEOMETRY.items()}
    columns |= {b: geo.neighbours[:, k] for k, b in enumerate(_mltree_npy._NEIGHBOUR_BRANCHES)}
    with uproot.recreate(tmp_path / "cell_geo.root") as file:
        file.mktree("CellGeo", {b: f"var * {v.dtype}" for b, v in columns.items()})
        file["CellGeo"].extend({b: awkward.unflatten(v, [len(v)]) for b, v in columns.items()})
    same(geo, _mltree_root.read_geometry(tmp_path / "cell_geo.root"))


def test_vectors_of_vectors_are_flattened(tmp_path):
    awkward = pytest.importorskip("awkward")
    nested = [[[[1, 2], []], [[3]]], [], [[], [[4, 5, 6], [7], []]]]
    flat = _mltree_root.flattened(awkward.Array(nested), 3, "hits", tmp_path)
    np.testing.assert_array_equal(flat.values, np.arange(1, 8))
    assert [c.tolist() for c in flat.counts] == [[2, 0, 2], [2, 1, 0, 3], [2, 0, 1, 3, 1, 0]]
    with pytest.raises(DataError, match="Numbers in 2 levels"):
        _mltree_root.flattened(awkward.Array(nested), 2, "hits", tmp_path)
    with pytest.raises(DataError, match="has the type"):
        _mltree_root.flattened(awkward.Array([[1, None]]), 1, "hits", tmp_path)


def test_damaged_root_files_are_refused(tmp_path, rng, geo, monkeypatch):
    pytest.importorskip("uproot")
    path = write_root(tmp_path / "events.root", pions(rng, geo))
    with pytest.raises(DataError, match=r"has no tree CellGeo; it has EventTree\..+ Put its cell_geo file beside it"):
        _mltree_root.read_geometry(path)
    geometry = write_root(tmp_path / "geo.root", geo=geo)
    with pytest.raises(DataError, match="has no tree EventTree"):
        _mltree_root.read_tree(geometry)
    data = path.read_bytes()
    no_root = ("text", b"no root file", "is no ROOT file"), ("empty", b"", "is no ROOT file")
    for name, content, problem in (("cut", data[: len(data) // 2], "is a ROOT file that is cut off"), *no_root):
        (tmp_path / f"{name}.root").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.root {problem}"):
            _mltree_root.read_tree(tmp_path / f"{name}.root")
    with pytest.raises(DataError, match="no branch cluster_E"):
        _mltree_root.read_tree(write_root(tmp_path / "less.root", without(pions(rng, geo), "clusters", "cluster_E")))
    monkeypatch.setitem(sys.modules, "uproot", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'uproot>=5\.7,<6'"):
        _mltree_root.read_tree(path)


def test_cells_are_joined_by_id_whatever_the_order(rng, geo):
    tree = mixtures(rng, geo)
    for detector in (geo, shuffled(geo, rng.permutation(len(geo.cell_id))), make_geometry(rng, is_shuffled=False)):
        rows = joined(tree, detector)
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(detector.cell_id[rows], tree.cells["cluster_cell_ID"])
        np.testing.assert_array_equal(check(tree, detector, "x"), rows)


DAMAGES = [  # table, branch, row, value, what the message says
    ("clusters", "cluster_E", 4, np.nan, "event 1, cluster 1: cluster_E is nan"),
    ("clusters", "cluster_Phi", 0, np.inf, "event 0, cluster 0: cluster_Phi is inf"),
    ("clusters", "cluster_ENG_CALIB_TOT", 3, np.nan, "event 1, cluster 0"),
    ("clusters", "cluster_nCells", 5, 2, "event 1, cluster 2: cluster_nCells is 2 and there are"),
    ("cells", "cluster_cell_E", 1, np.nan, "event 0, cluster 0, cell 1: cluster_cell_E is nan"),
    ("cells", "cluster_cell_ID", 0, 3, "event 0, cluster 0, cell 0: the cell id 3 is not in the geometry"),
    ("cells", "cluster_cell_ID", -1, 10**15, "event 3, cluster 2, cell"),
    ("truth", "truthPartE", 4, np.nan, "event 1, truth particle 0: truthPartE is nan"),
    ("tracks", "trackPt", 2, np.inf, "event 1, track 0: trackPt is inf"),
    ("tracks", "trackEta_EMB2", 1, np.nan, "event 0, track 1: trackEta_EMB2 is nan"),
    ("tracks", "trackTruthParticleIndex", 3, 4, "event 1, track 1: its truth index is 4 and the event has 4"),
    ("tracks", "trackTruthParticleIndex", 0, -2, "event 0, track 0: its truth index is -2"),
    ("hits", "cluster_cell_hitsTruthIndex", (2, 1), 4, "event 0, cluster 0, cell 2: its truth indices"),
    ("hits", "cluster_cell_hitsTruthE", (2, 1), -1, "event 0, cluster 0, cell 2: cluster_cell_hitsTruthE"),
    ("hits", "cluster_cell_hitsTruthE", (2, 1), np.nan, "event 0, cluster 0, cell 2: cluster_cell_hitsTruthE"),
]


@pytest.mark.parametrize("table, branch, row, value, message", DAMAGES)
def test_damaged_values_are_refused_by_name(rng, geo, table, branch, row, value, message):
    tree = altered(mixtures(rng, geo), table, branch, row, value)
    with pytest.raises(DataError, match=message) as caught:
        check(tree, geo, "folder/events.npy")
    assert str(caught.value).startswith("folder/events.npy, event")
    assert str(caught.value).count(". ") >= 2


def test_counts_that_do_not_fit_are_refused(rng, geo):
    tree = mixtures(rng, geo)
    for name in ("n_truth", "n_tracks", "n_clusters", "n_cells"):
        counts = getattr(tree, name).copy()
        counts[0] += 1
        with pytest.raises(DataError, match="expected"):
            check(replace(tree, **{name: counts}), geo, "file")
    with pytest.raises(DataError, match="cluster_E has 11 entries where the counts ask for 12"):
        check(replace(tree, clusters={**tree.clusters, "cluster_E": tree.clusters["cluster_E"][1:]}), geo, "file")


def test_a_cell_twice_in_a_cluster_is_refused(rng, geo):
    tree = mixtures(rng, geo)
    ids = tree.cells["cluster_cell_ID"]
    with pytest.raises(DataError, match=f"event 0, cluster 0: the cell {ids[0]} occurs twice in it"):
        check(altered(tree, "cells", "cluster_cell_ID", 1, ids[0]), geo, "file")


def changed_geometry(geo, name, row, value):
    values = getattr(geo, name).copy()
    values[row] = value
    return replace(geo, **{name: values})


def test_a_geometry_that_is_not_whole_is_refused(geo):
    check_geometry(geo, "geo")
    n = len(geo.cell_id)
    for damaged, message in (
        (changed_geometry(geo, "neighbours", (4, 2), n), f"cell {geo.cell_id[4]} has the neighbours"),
        (changed_geometry(geo, "neighbours", (4, 2), -2), f"cell {geo.cell_id[4]} has the neighbours"),
        (replace(geo, phi=geo.phi[1:]), f"entries of phi and {n} cells"),
        (replace(geo, neighbours=geo.neighbours[:, :9]), r"neighbours of shape \(3840, 9\)"),
    ):
        with pytest.raises(DataError, match=message):
            check_geometry(damaged, "geo")


@pytest.mark.parametrize("branch", ["cell_geo_ID", "cell_geo_sampling", "cell_geo_nextInPhi"])
def test_fractions_in_place_of_integers_of_the_geometry_are_refused(branch, tmp_path, geo):
    path = tmp_path / "geo.npy"
    _mltree_npy.write_geometry(path, geo)
    content = np.load(path, allow_pickle=True).item()
    content[branch] = [content[branch][0].astype(np.float64)]
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(_mltree_npy.read_geometry(path).cell_id, geo.cell_id)
    content[branch][0][3] += 0.5
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=rf"{branch} holds .*\.5\. Integers were expected"):
        _mltree_npy.read_geometry(path)


def test_cells_of_the_geometry_are_checked_where_events_use_them(rng, geo):
    tree = mixtures(rng, geo)
    rows = check(tree, geo, "file")
    used, unused = rows[0], np.setdiff1d(np.arange(len(geo.cell_id)), rows)[:2]
    for name, value, message in (
        ("cell_id", geo.cell_id[used], f"the cell id {geo.cell_id[used]} occurs twice"),
        ("sampling", 21, f"cell {geo.cell_id[used]} has the sampling 21. One of 0 to 20"),
        ("eta", np.nan, f"cell {geo.cell_id[used]} has eta = nan"),
        ("sigma_gev", np.inf, "sigma_gev = inf"),
    ):
        row = unused[0] if name == "cell_id" else used
        with pytest.raises(DataError, match=message):
            check(tree, changed_geometry(geo, name, row, value), "file")
        elsewhere = geo.cell_id[unused[1]] if name == "cell_id" else value
        np.testing.assert_array_equal(check(tree, changed_geometry(geo, name, unused[0], elsewhere), "file"), rows)


# --- as MLTreeMaker writes them ---


def test_a_file_of_mltreemaker_is_read(tmp_path):
    """Written by ROOT itself: cells below the threshold counted and not listed, empty ends, forward cells."""
    pytest.importorskip("uproot")
    tree, geo = tables()
    same(tree, _mltree_root.read_tree(MLTREEMAKER))
    same(geo, _mltree_root.read_geometry(MLTREEMAKER))
    check(tree, geo, "file")
    (tmp_path / "test").mkdir()
    shutil.copy(MLTREEMAKER, tmp_path / "test")
    dataset = dataset_spec("atlas-pions").open(dataset_spec("atlas-pions").config(), tmp_path)
    clusters = dataset.events("test", "cluster")
    np.testing.assert_array_equal(clusters.n_points, tree.n_cells)
    np.testing.assert_allclose(clusters[0].energy.sum(), tree.clusters["cluster_E"][0], rtol=1e-5)


def test_only_empty_ends_are_dropped(rng, geo):
    tree = mixtures(rng, geo)
    per_cluster = (tree.n_clusters, tree.n_cells)
    longer = tree.n_cells + 2
    ends = np.cumsum(longer)
    energy = np.ones(longer.sum(), np.float32)
    energy[np.concatenate([ends - 1, ends - 2])] = 0
    cut = without_tails(Jagged(energy, (tree.n_clusters, longer)), "cluster_cell_hitsE_EM", per_cluster, "file")
    assert len(cut.values) == tree.n_cells.sum() and cut.values.all()
    energy[ends[4] - 1] = 0.1
    message = rf"file: cluster 4 lists {tree.n_cells[4]} cells and has cluster_cell_hitsE_EM for {longer[4]}\."
    with pytest.raises(DataError, match=message):
        without_tails(Jagged(energy, (tree.n_clusters, longer)), "cluster_cell_hitsE_EM", per_cluster, "file")


# --- units ---


@pytest.mark.parametrize(
    "table, branch, factor, message",
    [
        ("truth", "truthPartMass", 1000, r"1,0\d\d times their masses"),
        ("truth", "truthPartE", 1000, r"truthPartE reaches [\d,]+\. At most 7,000 GeV"),
        ("clusters", "cluster_E", 1000, r"cluster_E reaches [\d,]+\. At most 7,000 GeV"),
        ("cells", "cluster_cell_E", 1000, r"half of its cells have more than [\d,]+\. cluster_cell_E in GeV"),
    ],
)
def test_energies_in_mev_are_refused(rng, geo, table, branch, factor, message):
    tree = pions(rng, geo)
    columns = {**getattr(tree, table), branch: getattr(tree, table)[branch] * np.float32(factor)}
    with pytest.raises(DataError, match=message) as caught:
        check(replace(tree, **{table: columns}), geo, "events.root")
    assert "by 1000" in str(caught.value)


@pytest.mark.parametrize(
    "name, factor, message",
    [("r_perp_mm", 0.1, "cell_geo_rPerp of its barrel's cells is about"), ("phi", 180 / np.pi, "cell_geo_phi reaches")],
)
def test_lengths_in_cm_and_angles_in_degrees_are_refused(rng, geo, name, factor, message):
    other = replace(geo, **{name: getattr(geo, name) * np.float32(factor)})
    with pytest.raises(DataError, match=message):
        check(pions(rng, geo), other, "events.root")


def test_event_weights_are_said_to_be_ignored(tmp_path, rng, geo, caplog):
    tree = pions(rng, geo)
    _mltree_npy.write_geometry(tmp_path / "cell_geo.npy", geo)
    spec = dataset_spec("atlas-pions")
    for split, weights in (("train", np.ones(6)), ("test", np.arange(6))):
        weighted = replace(tree, events={**tree.events, "mcEventWeight": weights.astype(np.float32)})
        (tmp_path / split).mkdir()
        _mltree_npy.write_tree(tmp_path / split / "events.npy", weighted)
        spec.open(spec.config(), tmp_path).events(split, "cluster")
        assert ("mcEventWeight differs between events in 1 files and is not used" in caplog.text) == (split == "test")
