"""A small file as ATLAS's MLTreeMaker writes it, by ROOT itself, and the same events as the suite's tables.

`tests/datasets/mltreemaker.root` was written with ROOT 6.40 by `python tests/builders/mltreemaker.py FILE` (ROOT is
needed for this only: `pip install root`). Of each cluster the last three cells are below the threshold: they count in
`cluster_nCells`, have empty hits, and are not listed. CellGeo ends with cells of the forward calorimeter.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark.datasets import _mltree_npy
from benchmark.datasets._mltree import NEIGHBOURS, CellGeo, MLTree
from benchmark.datasets._mltree_check import COUNTS
from builders.calo_files import make_geometry, make_tree
from builders.paths import ROOT as CHECKOUT

FILE = CHECKOUT / "tests" / "datasets" / "mltreemaker.root"
N_HIDDEN = 3  # cells of each cluster below the threshold
_TYPES = {
    "runNumber": "int", "eventNumber": "Long64_t", "mcChannelNumber": "unsigned int", "cluster_nCells": "int",
    "truthPartPdgId": "int", "trackNumberDOF": "int", "trackTruthParticleIndex": "int",
    "cluster_cell_ID": "unsigned long", "cluster_cell_hitsTruthIndex": "int", "cell_geo_ID": "unsigned long",
    "cell_geo_sampling": "unsigned short",
}  # fmt: skip


def tables() -> tuple[MLTree, CellGeo]:
    """Four events, two of single pions, and the geometry, forward cells included."""
    rng = np.random.default_rng(11)
    geo = make_geometry(rng, n_eta=6, n_phi=16)
    tree = make_tree(rng, geo, [[111], [211], [211, 111, -211, 130], [-211]], sizes=(5, 9))
    forward = {name: values[:6].copy() for name, values in vars(geo).items()}
    forward |= {"cell_id": 10**9 + np.arange(6), "sampling": np.array([21, 21, 22, 22, 23, 23])}
    forward["sigma_gev"] = np.full(6, np.nan, np.float32)
    whole = {name: np.concatenate([values, forward[name]]) for name, values in vars(geo).items()}
    n_cells = tree.clusters["cluster_nCells"] + N_HIDDEN
    return replace(tree, clusters={**tree.clusters, "cluster_nCells": n_cells}), CellGeo(**whole)


def write(path: Path) -> None:
    """Write both trees with ROOT, as vectors, vectors of vectors, and vectors of those."""
    import ROOT

    tree, geo = tables()
    file = ROOT.TFile(str(path), "RECREATE", "", 505)
    _fill(ROOT, "EventTree", _rows(tree))
    columns = {b: getattr(geo, field) for b, (field, _) in _mltree_npy.GEOMETRY.items()}
    columns |= {f"cell_geo_{name}": geo.neighbours[:, k] for k, name in enumerate(NEIGHBOURS)}
    _fill(ROOT, "CellGeo", [{name: values.tolist() for name, values in columns.items()}])
    file.Write()
    file.Close()


def _rows(tree: MLTree) -> list[dict]:
    def parts(values, counts):
        return [part.tolist() for part in np.split(values, np.cumsum(counts)[:-1])]

    columns = {name: values.tolist() for name, values in tree.events.items()}
    for branch, table in COUNTS.items():
        counts = getattr(tree, f"n_{table}")
        columns[branch] = counts.tolist()
        columns |= {name: parts(values, counts) for name, values in getattr(tree, table).items()}
    first = np.cumsum(tree.n_clusters) - tree.n_clusters
    for name, values in (*tree.cells.items(), *tree.hits.items()):
        lists = parts(values, tree.n_cells)
        if name in tree.hits:
            lists = [[[h for h in cell if h > -1] for cell in cluster] + [[]] * N_HIDDEN for cluster in lists]
        columns[name] = [lists[a : a + n] for a, n in zip(first, tree.n_clusters, strict=True)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _fill(root, name: str, rows: list[dict]) -> None:
    tree = root.TTree(name, name)
    holders = {}
    for branch, value in rows[0].items():
        number = _TYPES.get(branch, "int" if branch in COUNTS or ("cell_geo_" in branch and _whole(value)) else "float")
        depth = _depth(branch, value)
        if depth == 0:
            holders[branch] = np.zeros(1, {"int": "i4", "Long64_t": "i8", "unsigned int": "u4", "float": "f4"}[number])
            leaf = {"int": "I", "Long64_t": "L", "unsigned int": "i", "float": "F"}[number]
            tree.Branch(branch, holders[branch], f"{branch}/{leaf}")
        else:
            vector = number
            for _ in range(depth):
                vector = f"std::vector<{vector}>"
            holders[branch] = getattr(root, vector)()
            tree.Branch(branch, holders[branch])
    for row in rows:
        for branch, value in row.items():
            if isinstance(holders[branch], np.ndarray):
                holders[branch][0] = value
            else:
                holders[branch].clear()
                _append(holders[branch], value)
        tree.Fill()


def _append(vector, values: list) -> None:
    for value in values:
        if isinstance(value, list):
            vector.emplace_back()
            _append(vector.back(), value)
        else:
            vector.push_back(value)


def _depth(branch: str, value) -> int:
    if not isinstance(value, list):
        return 0
    return 3 if "hitsTruth" in branch else 2 if "cluster_cell_" in branch else 1


def _whole(values: list) -> bool:
    return all(isinstance(v, int) for v in values)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
