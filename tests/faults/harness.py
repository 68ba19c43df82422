"""All trials, in one process that has everything imported and is forked for each command."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from faults.commands import COMMANDS
from faults.scenarios import SCENARIOS, Results, as_json
from faults.trials import SIGNALS, Tally, Workshop

# what the commands import on first use; once here instead of in every forked process
MODULES = (
    "benchmark.training.fit", "benchmark.runs.run", "benchmark.runs.beside", "benchmark.runs.pretrain",
    "benchmark.runs.tune", "benchmark.runs.sweep", "benchmark.runs.transfer", "benchmark.checkpoints.load",
    "benchmark.site.pages", "benchmark.reports.formats", "benchmark.reports.check", "benchmark.plots.training_curves",
    "benchmark.plots.efficiency_curves", "benchmark.baselines.pointnet", "benchmark.models.polarmae", "optuna",
    "benchmark.datasets.larsim.production", "benchmark.evaluation.token_probe", "tensorboard", "plotly", "pandas",
)  # fmt: skip


def run(
    root: Path, n: int, seed: int, commands: str | None, faults: str | None, out: Path | None,
    earlier: Results | None = None,
) -> str:  # fmt: skip
    """Disturb with n signals over all commands, and n / 40 of every other fault of each command; returns JSON.

    commands, faults: names of those that are tried, with commas between them; None: all. earlier: results to add to.
    """
    chosen = commands.split(",") if commands else list(COMMANDS)
    wanted = faults.split(",") if faults else ["signals", *SCENARIOS]
    prepare()
    shop, tallies = Workshop(root, seed), []
    for tally in _tallies(shop, n, chosen, wanted):
        tallies.append(tally)
        failed = len(tally.failures)
        print(f"{tally.command}, {tally.fault}: {tally.tried - failed} of {tally.tried}", file=sys.stderr, flush=True)
        if out is not None:
            out.write_text(as_json(tallies, n, seed, earlier), encoding="utf-8")
    return as_json(tallies, n, seed, earlier)


def prepare() -> None:
    """Import everything, and compile the simulation."""
    import torch

    torch.set_num_threads(1)
    from benchmark.cli import add_commands
    from benchmark.datasets.larsim import shards

    add_commands()
    for name in MODULES:
        importlib.import_module(name)
    shards.compile_transport()
    shards.compile_images()


def _tallies(shop: Workshop, n: int, commands: list[str], faults: list[str]) -> Iterator[Tally]:
    each = -(-n // len(commands))
    for name in commands if "signals" in faults else ():
        tallies = {kind: Tally(name, f"{kind} at a seeded moment") for kind in SIGNALS}
        for fault in shop.moments(name, each):
            tallies[fault.kind].add(str(fault), shop.disturb(name, fault))
        yield from (tally for tally in tallies.values() if tally.tried)
    for name, scenario in SCENARIOS.items():
        if name in faults:
            yield from (t for t in scenario(shop, max(1, n // 40)) if t.command in commands)
