"""Tiny, valid MLTree tables made by hand, as files of every kind; tests then damage them one way at a time."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.datasets import _mltree_npy
from benchmark.datasets._mltree import DISTANCE_MM, NEIGHBOURS, RADIUS_MM, SAMPLINGS, UNREACHED, CellGeo, MLTree
from benchmark.datasets._mltree_check import COUNTS

LAYERS = ("EMB1", "EMB2", "EMB3", "TileBar0", "EME2")


def make_geometry(
    rng: np.random.Generator, is_shuffled: bool = True, n_eta: int = 12, n_phi: int = 64, step: float = 0.05
) -> CellGeo:
    """LAYERS of n_eta x n_phi cells; ids have gaps; rows are shuffled unless told otherwise."""
    shape = (len(LAYERS), n_eta, n_phi)
    layer, i, j = (a.ravel() for a in np.indices(shape))
    n = len(layer)
    sampling = np.array([SAMPLINGS[name] for name in LAYERS])[layer]
    eta = np.where(sampling == SAMPLINGS["EME2"], 2.0, -0.3) + (i - n_eta / 2 + 0.5) * step
    phi = -np.pi + (j + 0.5) * 2 * np.pi / n_phi
    radius = np.array([RADIUS_MM.get(name, np.nan) for name in LAYERS])[layer]
    r_perp = np.where(np.isnan(radius), DISTANCE_MM["EME2"] / np.abs(np.sinh(eta)), radius)

    def row(a, b, c):
        inside = (a >= 0) & (a < shape[0]) & (b >= 0) & (b < n_eta)
        return np.where(inside, (a * n_eta + b) * n_phi + c % n_phi, -1)

    steps = [row(layer, i, j - 1), row(layer, i, j + 1), row(layer, i - 1, j), row(layer, i + 1, j),
             row(layer - 1, i, j), row(layer + 1, i, j)]  # fmt: skip
    steps += [np.full(n, -1)] * (len(NEIGHBOURS) - len(steps))
    neighbours = np.stack(steps, axis=1)
    geo = CellGeo(
        1000 + 7 * np.arange(n), sampling, eta.astype("f4"), phi.astype("f4"), r_perp.astype("f4"),
        np.full(n, step, "f4"), np.full(n, 2 * np.pi / n_phi, "f4"), np.full(n, 1e5, "f4"), np.full(n, 0.03, "f4"),
        neighbours,
    )  # fmt: skip
    return shuffled(geo, rng.permutation(n)) if is_shuffled else geo


def shuffled(geo: CellGeo, order: np.ndarray) -> CellGeo:
    """The same detector with its rows in another order."""
    place = np.argsort(order)
    moved = {name: getattr(geo, name)[order] for name in vars(geo)}
    moved["neighbours"] = np.where(moved["neighbours"] >= 0, place[moved["neighbours"]], -1)
    return CellGeo(**moved)


def make_tree(
    rng: np.random.Generator,
    geo: CellGeo,
    particles: list[list[int]],
    n_clusters: int = 3,
    channel: int | None = None,
    sizes: tuple[int, int] = (8, 20),
) -> MLTree:
    """One event for each list of PDG ids: clusters share cells, hits add up, each charged particle leaves a track.

    channel: None for 900246 where the first particle is a pi0 and 900247 elsewhere.
    """
    events: dict[str, list] = {"runNumber": [], "eventNumber": [], "mcChannelNumber": [], "mcEventWeight": []}
    truth: dict[str, list] = {f"truthPart{n}": [] for n in ("PdgId", "Pt", "E", "Mass", "Eta", "Phi")}
    tracks: dict[str, list] = {f"track{n}": [] for n in (
        "Pt", "P", "Mass", "Eta", "Phi", "D0", "Z0", "ChiSquared", "NumberDOF", "TruthParticleIndex",
        *(f"{axis}_{layer}" for layer in SAMPLINGS for axis in ("Eta", "Phi")),
    )}  # fmt: skip
    clusters: dict[str, list] = {f"cluster_{n}": [] for n in (
        "E", "E_LCCalib", "Pt", "Eta", "Phi", "nCells", "ENG_CALIB_TOT", "ENG_CALIB_OUT_T", "ENG_CALIB_DEAD_TOT",
        "EM_PROBABILITY", "HAD_WEIGHT", "OOC_WEIGHT", "DM_WEIGHT", "CENTER_MAG", "CENTER_LAMBDA", "FIRST_ENG_DENS",
        "ISOLATION",
    )}  # fmt: skip
    cells: dict[str, list] = {f"cluster_cell_{n}": [] for n in (
        "ID", "E", "hitsE_EM", "hitsE_nonEM", "hitsE_Invisible", "hitsE_Escaped",
    )}  # fmt: skip
    hit_index, hit_energy, n_tracks = [], [], []
    for number, pdgs in enumerate(particles):
        phi = rng.uniform(-np.pi, np.pi) if number else np.pi - 0.02  # the first event lies across phi = pi
        eta = rng.uniform(-0.35, -0.25)
        events["runNumber"].append(284500)
        events["eventNumber"].append(number)
        events["mcChannelNumber"].append(channel or (900246 if pdgs[0] == 111 else 900247))
        events["mcEventWeight"].append(1.0)
        energy = rng.uniform(5, 50, len(pdgs))
        for pdg, e in zip(pdgs, energy, strict=True):
            for name, value in (("PdgId", pdg), ("Pt", e), ("E", e), ("Mass", 0.14), ("Eta", eta), ("Phi", phi)):
                truth[f"truthPart{name}"].append(value)
        charged = [k for k, pdg in enumerate(pdgs) if abs(pdg) in (211, 321, 2212)]
        n_tracks.append(len(charged))
        for k in charged:
            at = (eta + rng.uniform(-0.05, 0.05), wrap(phi + rng.uniform(-0.05, 0.05)))
            values = (energy[k], energy[k] * 1.05, 0.14, *at, 0.01, rng.normal(0, 40), 20.0, 18, k)
            names = list(tracks)
            for name, value in zip(names, values, strict=False):
                tracks[name].append(value)
            for layer in SAMPLINGS:
                reached = layer in ("PreSamplerB", "EMB1", "EMB2", "EMB3", "TileBar0")
                tracks[f"trackEta_{layer}"].append(at[0] + 0.001 if reached else UNREACHED)
                tracks[f"trackPhi_{layer}"].append(wrap(at[1] + 0.002) if reached else UNREACHED)
        pool = nearest(geo, eta, phi, 6 * sizes[1])
        for cluster in range(n_clusters):
            n = int(rng.integers(*sizes))
            rows = rng.choice(pool, n, replace=False)  # of few, so clusters share cells
            e = rng.uniform(0.05, 2.0, n)
            index = np.full((n, 3), -1)
            shares = np.zeros((n, 3))
            for place, k in enumerate(rng.permutation(len(pdgs))[:3]):
                index[:, place] = k
                shares[:, place] = rng.uniform(0, 1, n)
            shares[0], index[0] = 0, -1  # a cell of noise
            total = e.sum()
            around = (eta + 0.02 * cluster, wrap(phi + 0.03 * cluster))
            values = (total, 1.2 * total, total, *around, n, 0.9 * total, 0.1, 0.2, 0.4, 1.1, 1.05, 1.02, 1500.0,
                      200.0, 0.5, 0.7)  # fmt: skip
            for name, value in zip(clusters, values, strict=True):
                clusters[name].append(value)
            for name, value in zip(cells, (geo.cell_id[rows], e, e, 0 * e, 0 * e, 0 * e), strict=True):
                cells[name].append(value)
            hit_index.append(index)
            hit_energy.append(shares)
    whole = ("runNumber", "eventNumber", "mcChannelNumber", "truthPartPdgId", "trackNumberDOF",
             "trackTruthParticleIndex", "cluster_nCells", "cluster_cell_ID")  # fmt: skip

    def columns(table, join=np.asarray):
        return {name: join(values).astype("i8" if name in whole else "f4") for name, values in table.items()}

    return MLTree(
        columns(events), np.array([len(p) for p in particles]), np.array(n_tracks),
        np.full(len(particles), n_clusters), columns(truth), columns(tracks), columns(clusters),
        np.array(clusters["cluster_nCells"], "i8"), columns(cells, np.concatenate),
        {"cluster_cell_hitsTruthIndex": np.concatenate(hit_index).astype("i8"),
         "cluster_cell_hitsTruthE": np.concatenate(hit_energy).astype("f4")},
    )  # fmt: skip


def nearest(geo: CellGeo, eta: float, phi: float, n: int) -> np.ndarray:
    """Rows of the n cells nearest to a direction."""
    return np.argsort(np.hypot(geo.eta - eta, wrap(geo.phi - phi)), kind="stable")[:n]


def wrap(angle):
    """An angle in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def altered(tree: MLTree, table: str, branch: str, row: int, value) -> MLTree:
    """The same tree with one value changed."""
    columns = dict(getattr(tree, table))
    columns[branch] = columns[branch].copy()
    columns[branch][row] = value
    return replace(tree, **{table: columns})


def without(tree: MLTree, table: str, *branches: str) -> MLTree:
    """The same tree without some branches."""
    return replace(tree, **{table: {k: v for k, v in getattr(tree, table).items() if k not in branches}})


def pions(rng: np.random.Generator, geo: CellGeo, n_events: int = 6) -> MLTree:
    """Single pions, pi0 and pi+- in turn."""
    return make_tree(rng, geo, [[111] if k % 2 else [211 if k % 4 else -211] for k in range(n_events)])


def mixtures(rng: np.random.Generator, geo: CellGeo, n_events: int = 4) -> MLTree:
    """Two charged particles and neutral ones."""
    return make_tree(rng, geo, [[211, 111, -211, 130] for _ in range(n_events)], channel=900148)


def write_root(path: Path, tree: MLTree | None = None, geo: CellGeo | None = None) -> Path:
    """The same tables as RNTuples EventTree and CellGeo; uproot writes vectors of vectors in this format only."""
    import awkward
    import uproot

    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        if tree is not None:
            content = dict(tree.events)
            for branch, table in COUNTS.items():
                counts = getattr(tree, f"n_{table}")
                content[branch] = counts
                content |= {n: awkward.unflatten(v, counts) for n, v in getattr(tree, table).items()}
            for name, values in (*tree.cells.items(), *tree.hits.items()):
                nested = awkward.from_regular(values) if values.ndim > 1 else values
                content[name] = awkward.unflatten(awkward.unflatten(nested, tree.n_cells), tree.n_clusters)
            file.mkrntuple("EventTree", content)
        if geo is not None:
            columns = {b: getattr(geo, field) for b, (field, _) in _mltree_npy.GEOMETRY.items()}
            columns |= {f"cell_geo_{name}": geo.neighbours[:, k] for k, name in enumerate(NEIGHBOURS)}
            file.mkrntuple("CellGeo", {n: awkward.unflatten(v, [len(v)]) for n, v in columns.items()})
    return path


def same(one: MLTree | CellGeo, other: MLTree | CellGeo) -> None:
    """Fails unless both hold the same columns, values and types."""
    for name, value in vars(one).items():
        its = getattr(other, name)
        tables = ((value, its),) if isinstance(value, np.ndarray) else tuple((value[k], its[k]) for k in value)
        assert isinstance(value, np.ndarray) or set(value) == set(its)
        for a, b in tables:
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def write_folder(root: Path, rng: np.random.Generator, geo: CellGeo, sizes: dict[str, int] | None = None) -> Path:
    """A whole data set in the simulation's layout: cell_geo.npy and pions and mixtures of every split."""
    _mltree_npy.write_geometry(root / "cell_geo.npy", geo)
    for split, n_events in (sizes or {"train": 6, "val": 2, "test": 4}).items():
        _mltree_npy.write_tree(root / split / "pions_0000.npy", pions(rng, geo, n_events))
        _mltree_npy.write_tree(root / split / "mixtures_0000.npy", mixtures(rng, geo, n_events))
    return root
