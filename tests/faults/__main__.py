"""`make faults`: commands are disturbed at seeded moments; prints what was tried, survived and failed.

python -m faults -n 200 --seed 1 --out results.json     (with tests/ and the checkout on PYTHONPATH)
python -m faults -n 200 --seed 2 --out results.json --add       moments of another seed, added to those in the file
python -m faults --table results.json                   the table of an earlier call, as Markdown
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"  # before numpy, numba or torch is imported: forked processes have no threads of theirs


def main() -> None:
    """Read the options, disturb, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=200, help="moments of signals, over all commands")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", help="only these, with commas between them")
    parser.add_argument("--faults", help="only these: signals, or names of scenarios, with commas between them")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--add", action="store_true", help="add to the trials in --out")
    parser.add_argument("--table", type=Path, help="print the table of such a file, and do nothing else")
    options = parser.parse_args()
    from faults.scenarios import as_markdown

    if options.table:
        print(as_markdown(json.loads(options.table.read_text())["rows"]))
        return
    from faults.harness import run

    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        earlier = json.loads(options.out.read_text()) if options.add else None
        result = run(Path(folder), options.n, options.seed, options.commands, options.faults, options.out, earlier)
    rows = json.loads(result)["rows"]
    for row in rows:
        for failure in row["failures"]:
            print(f"FAILED {row['command']}, {row['fault']}, {failure}", file=sys.stderr)
    print(as_markdown(rows))
    sys.exit(1 if any(row["failed"] for row in rows) else 0)


if __name__ == "__main__":
    main()
