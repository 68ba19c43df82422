"""The simulated calorimeter compared with expectations: one table, and the figures of docs/calo_sim.md.

    python -m benchmark.datasets.calosim.validation --out FOLDER [--events N] [--clusters CSV] [--real-events CSV]

simulates N single pions and guns, prints the table, and writes it with the figures into FOLDER (`validation.json`). A
row outside its range says "no": the toy is not tuned to pass every check. The two optional files hold real
ATLAS-simulated clusters (columns e_em_gev, e_true_gev, eta, n_cells, label) and charged-pion events (e_true_pion_gev,
sum_em_gev, sum_lcw_gev, n_clusters); they are compared and not shipped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.io import atomic_write_json

from .checks import N_EVENTS, real_table, table, validate
from .plots import draw_all


def main() -> None:
    """Print the table and write it with the figures."""
    parser = argparse.ArgumentParser(description="Validate the simulated calorimeter.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures and the numbers")
    parser.add_argument("--events", type=int, default=N_EVENTS, help="single pions to simulate")
    parser.add_argument("--clusters", type=Path, help="real clusters to compare with (CSV)")
    parser.add_argument("--real-events", type=Path, help="real charged-pion events to compare with (CSV)")
    arguments = parser.parse_args()
    rows, facts, sample = validate(arguments.events)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = table(rows)
    numbers = {"table": text, "events": arguments.events, "facts": facts}
    numbers["checks"] = [{**row.__dict__, "reproduced": row.reproduced} for row in rows]
    atomic_write_json(arguments.out / "validation.json", numbers)
    real_clusters = _read(arguments.clusters)
    draw_all(arguments.out, sample, facts, real_clusters, _read(arguments.real_events))
    print(text)
    if real_clusters is not None:
        print("\n" + real_table(sample, real_clusters))


def _read(path: Path | None) -> Any:
    return None if path is None else np.genfromtxt(path, delimiter=",", names=True)


if __name__ == "__main__":
    main()
