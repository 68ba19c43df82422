"""`make fuzz N=10000`: damages that many files, and prints what became of them; rc 1 where one fails."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"  # before numpy, numba or torch is imported: the readers run in forked processes

from benchmark.io import atomic_write_text  # noqa: E402
from fuzz import report  # noqa: E402
from fuzz.formats import READERS  # noqa: E402
from fuzz.runner import Outcome, run  # noqa: E402


def main() -> int:
    """Run from the command line."""
    arguments = _parser().parse_args()
    if arguments.again is not None:
        return _again(arguments.again, arguments.processes)
    chosen = [r for r in READERS if not arguments.reader or r.name in arguments.reader.split(",")]
    if not chosen:
        print(f"There is no reader {arguments.reader}. Expected some of: {', '.join(r.name for r in READERS)}.")
        return 2
    indices: Mapping[str, range] = {
        reader.name: range(arguments.n // len(chosen) + (k < arguments.n % len(chosen)))
        for k, reader in enumerate(chosen)
    }
    if arguments.index is not None:
        indices = {reader.name: range(arguments.index, arguments.index + 1) for reader in chosen}
    begin, outcomes = time.monotonic(), []
    # Ctrl-C: what has been tried by then is shown
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, contextlib.suppress(KeyboardInterrupt):
        for outcome in run(chosen, indices, arguments.seed, Path(folder), arguments.processes):
            outcomes.append(outcome)
            _show(outcome, arguments.seed, arguments.index is not None)
    wall_s = time.monotonic() - begin
    print(f"\n{report.markdown(outcomes)}\n\n{len(outcomes):,} files in {wall_s:.0f} s, seed {arguments.seed}")
    if arguments.json is not None:
        text = json.dumps(report.as_values(outcomes, arguments.seed, wall_s), indent=1)
        atomic_write_text(arguments.json, text + "\n")
    return int(any(outcome.result == "failed" for outcome in outcomes))


def _again(path: Path, n_processes: int) -> int:
    """Repeat the failures of a file of counts, and correct it."""
    values = json.loads(path.read_text(encoding="utf-8"))
    indices: dict[str, list[int]] = {}
    for failure in values["failures"]:
        indices.setdefault(failure["reader"], []).append(failure["index"])
    readers = [r for r in READERS if r.name in indices]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        outcomes = list(run(readers, indices, values["seed"], Path(folder), n_processes))
    for outcome in outcomes:
        _show(outcome, values["seed"], always=True)
    atomic_write_text(path, json.dumps(report.repeated(values, outcomes), indent=1) + "\n")
    return int(any(outcome.result == "failed" for outcome in outcomes))


def _show(outcome: Outcome, seed: int, always: bool) -> None:
    """A failure, with the command that repeats it."""
    if outcome.result == "failed" or always:
        again = f'make fuzz ARGS="--reader {outcome.reader} --seed {seed} --index {outcome.index}"'
        print(f"{outcome.result}: {outcome.reader}, {outcome.kind}: {outcome.note}\n    {again}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("-n", type=int, default=1000, help="damaged files, over all readers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reader", help="only these, separated by commas")
    parser.add_argument("--index", type=int, help="only this file of each reader")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="where the counts go")
    parser.add_argument("--again", type=Path, help="repeat the failures of such a file, after a mend, and correct it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
