"""Time and memory of what is made from records, by their number: made-up ones of 400 events each.

    PYTHONPATH=.:tests python -m scale.records --out tests/scale/records.json

Records are of 20 models, 5 label budgets, 10 draws, and as many seeds as their number needs. `again`: the first command
has kept the resampled scores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmark.hardware.environment import processor
from builders.many_records import write_many
from scale.used import used_by

EACH = 1_000  # records of one seed
COMMANDS = {
    "leaderboard": ("leaderboard", "--out", "tables"),
    "leaderboard, again": ("leaderboard", "--out", "tables"),
    "leaderboard --check": ("leaderboard", "--out", "tables", "--check"),
    "site": ("site", "--out", "site", "--events", "0"),
}


def main() -> None:
    """Measure every command on every number of records and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 5, 10], help=f"of {EACH:,} records each")
    arguments = parser.parse_args()
    results = []
    for n_seeds in arguments.seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_many(folder / "runs" / "records", n_seeds=n_seeds)
            for command, words in COMMANDS.items():
                used = used_by(words, folder)
                results.append({"records": n_seeds * EACH, "command": command, "used": asdict(used)})
                print(json.dumps(results[-1]), flush=True)
    document = {"machine": processor(), "results": results}
    arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
