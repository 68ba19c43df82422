"""From a production, a seed and numbers of events to MLTree's tables. Event k depends on (seed, production, split, k)
and nothing else: not on chunks or workers. ATLAS-like toy, not ATLAS simulation.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from benchmark.datasets._mltree import RADIUS_MM, MLTree
from benchmark.errors import ConfigError, unknown_name
from benchmark.seeding import generator, seed_from

from .clusters import MOMENTS, Clusters, Labels, cluster_cells, make_labels
from .generate import PRODUCTIONS, GeneratorSettings, Production, Shot, enters, generate
from .geometry import Floats, cell_geometry, grid
from .kinematics import at_radius, charge_of, eta_phi, mass_of
from .local_calibration import calibrated
from .material import PION_LAMBDA
from .readout import Readout, make_readout, read_out
from .showers import HADRON, PHOTON, run_showers
from .state import State, make_state
from .tracks import COLUMNS as TRACK_COLUMNS
from .tracks import make_tracks

__all__ = ["cell_geometry", "simulate_chunk", "simulate_event"]
RUN_NUMBER = 1
_MESON_LAMBDA, _BARYON_LAMBDA = PION_LAMBDA, 1.0  # mean depth of the first interaction, interaction lengths


class Event(NamedTuple):
    """One simulated event."""

    shot: Shot
    tracks: list[list[float]]  # rows of tracks.COLUMNS
    clusters: Clusters


@cache
def _buffers() -> tuple[State, Readout, Labels]:
    """One set per process."""
    return make_state(), make_readout(), make_labels()


def simulate_event(production: Production, settings: GeneratorSettings, names: tuple[object, ...]) -> Event:
    """One event, from the random streams named by `names`."""
    shot = generate(production, settings, generator(*names, "particles"))
    tracks = make_tracks(shot, generator(*names, "tracks"))
    particles, etas, phis = _particles(shot)
    state, readout, labels = _buffers()
    run_showers(state, particles, seed_from(*names, "showers"))
    read_out(state, grid(), readout, etas, phis)
    return Event(shot, tracks, cluster_cells(state, readout, labels))


def _particles(shot: Shot) -> tuple[Floats, Floats, Floats]:
    """Rows of `showers.COLUMNS`, and (eta, phi) in EMB2 where noise is added. Curlers stay inside the solenoid."""
    rows, etas, phis = [], [], []
    for row, pdg, p, entry_point in enters(shot):
        if entry_point is None:
            continue
        baryon = abs(pdg) > 1000
        shower_type = PHOTON if pdg == 22 else HADRON
        depth = _BARYON_LAMBDA if baryon else _MESON_LAMBDA
        mass, charge = mass_of(pdg), 0 if pdg == 22 else charge_of(pdg)
        rows.append([row, shower_type, p[0], mass, charge, baryon, depth, *entry_point[0], *entry_point[1]])
        eta, phi = at_radius(*entry_point, RADIUS_MM["EMB2"])
        etas.append(eta)
        phis.append(phi)
    return np.array(rows, dtype=np.float64).reshape(-1, 13), np.array(etas), np.array(phis)


def simulate_chunk(
    production: str,
    seed: int,
    split: str,
    first: int,
    n_events: int,
    settings: GeneratorSettings | None = None,
) -> MLTree:
    """Events first..first + n_events - 1 of a split of the production "pions" or "mixtures", all branches of MLTree.

    Raises BenchmarkError for an unknown production and numbers below 0.
    """
    if production not in PRODUCTIONS:
        raise unknown_name("production", production, PRODUCTIONS, "Correct the production.")
    if first < 0 or n_events < 0:
        raise ConfigError(
            f"Events {first} to {first + n_events} were requested. Numbers of at least 0 were expected. "
            f"Correct first and n_events."
        )
    settings = settings or GeneratorSettings()
    numbers = range(first, first + n_events)
    return assemble(
        [simulate_event(production, settings, ("calo-sim", seed, production, split, k)) for k in numbers], numbers
    )


def assemble(events: list[Event], numbers: range) -> MLTree:
    """Events of the given numbers as MLTree's tables."""
    return MLTree(
        events={
            "runNumber": np.full(len(events), RUN_NUMBER, np.int64),
            "eventNumber": np.array(numbers, np.int64),
            "mcChannelNumber": np.array([e.shot.channel for e in events], np.int64),
            "mcEventWeight": np.ones(len(events), np.float32),
        },
        n_truth=np.array([len(e.shot.pdg) for e in events], np.int64),
        n_tracks=np.array([len(e.tracks) for e in events], np.int64),
        n_clusters=np.array([len(e.clusters.moments) for e in events], np.int64),
        truth=_truth(events),
        tracks=_tracks(events),
        clusters=_clusters(events),
        n_cells=_joined(events, "n_cells", np.int64),
        cells=_cells(events),
        hits={
            "cluster_cell_hitsTruthIndex": _joined(events, "hit_row", np.int64),
            "cluster_cell_hitsTruthE": _joined(events, "hit_energy", np.float32),
        },
    )


def _joined(events: list[Event], name: str, dtype: type) -> np.ndarray:
    parts = [getattr(e.clusters, name) for e in events]
    if not parts:
        width = {"moments": (0, len(MOMENTS)), "truth": (0, 4), "hit_row": (0, 3), "hit_energy": (0, 3)}
        return np.zeros(width.get(name, (0,)), dtype)
    return np.concatenate(parts).astype(dtype)


def _truth(events: list[Event]) -> dict[str, np.ndarray]:
    p = np.array([m for e in events for m in e.shot.momenta]).reshape(-1, 4)
    directions = np.array([eta_phi(row) for row in p]).reshape(-1, 2)
    floats = {
        "truthPartPt": np.hypot(p[:, 1], p[:, 2]), "truthPartE": p[:, 0],
        "truthPartMass": np.array([m for e in events for m in e.shot.masses]),
        "truthPartEta": directions[:, 0], "truthPartPhi": directions[:, 1],
    }  # fmt: skip
    pdg = np.array([pdg for e in events for pdg in e.shot.pdg], np.int64)
    return {"truthPartPdgId": pdg, **{name: v.astype(np.float32) for name, v in floats.items()}}


def _tracks(events: list[Event]) -> dict[str, np.ndarray]:
    table = np.array([row for e in events for row in e.tracks], dtype=np.float64).reshape(-1, len(TRACK_COLUMNS))
    whole = ("trackNumberDOF", "trackTruthParticleIndex")
    return {name: table[:, k].astype(np.int64 if name in whole else np.float32) for k, name in enumerate(TRACK_COLUMNS)}


def _clusters(events: list[Event]) -> dict[str, np.ndarray]:
    table = _joined(events, "moments", np.float64)
    m = {name: table[:, k] for k, name in enumerate(MOMENTS)}
    weights = calibrated(m)
    floats = {f"cluster_{name}": values for name, values in m.items()} | {
        "cluster_E_LCCalib": weights.calibrated,
        "cluster_Pt": m["E"] / np.cosh(m["Eta"]),
        "cluster_EM_PROBABILITY": weights.em_probability,
        "cluster_HAD_WEIGHT": weights.had_weight,
        "cluster_OOC_WEIGHT": weights.ooc_weight,
        "cluster_DM_WEIGHT": weights.dm_weight,
    }
    n_cells = _joined(events, "n_cells", np.int64)
    return {**{name: v.astype(np.float32) for name, v in floats.items()}, "cluster_nCells": n_cells}


def _cells(events: list[Event]) -> dict[str, np.ndarray]:
    truth = _joined(events, "truth", np.float32)
    kinds = ("EM", "nonEM", "Invisible", "Escaped")
    return {
        "cluster_cell_ID": cell_geometry().cell_id[_joined(events, "rows", np.int64)],
        "cluster_cell_E": _joined(events, "energy", np.float32),
        **{f"cluster_cell_hitsE_{name}": truth[:, k] for k, name in enumerate(kinds)},
    }
