"""`perf`: speed of the parts of the suite on this machine, one table each, with hardware and versions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli.app import app, console, typed_command
from benchmark.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.contracts import PointBatch
    from benchmark.studies.base import Events

PARTS = ("tokens", "sparse", "steps", "loading", "simulation")


@app.command()
def perf(
    parts: Annotated[
        list[str] | None, typer.Argument(help=f"Which of {', '.join(PARTS)}; without any, all.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    models: Annotated[str, typer.Option("--models", help="Of steps, comma-separated.")] = "polarmae,sparse_uresnet",
    preset: Annotated[
        str | None, typer.Option("--preset", help="Of the models; paper on GPUs, default on CPUs.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Events of a step; 128 on GPUs, 8 on CPUs.")] = None,
    sizes: Annotated[str, typer.Option("--sizes", help="Of the public sparse networks.")] = "small,medium,large",
    backends: Annotated[str, typer.Option("--backends", help="Of sparse convolution; all that can be used.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Smallest and largest inputs only, few rounds.")] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Of steps: compile the blocks of transformers. GPUs only.")
    ] = False,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="First time tiles of sparse convolution on this GPU, for these sizes and models, and keep the "
            "fastest for later runs. GPUs only.",
        ),
    ] = False,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of lartpc-sim; without it, the cache.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the tables.")] = Path("runs/perf"),
) -> None:
    """Times and peak memory of tokenisation, sparse convolution, training steps, loading and simulation."""
    from benchmark.hardware.environment import choose_device, describe_machine, usable_cores
    from benchmark.io import atomic_write_json
    from benchmark.sparse import BACKENDS
    from benchmark.studies.base import load_events

    chosen = tuple(parts or PARTS)
    for name in chosen:
        if name not in PARTS:
            raise unknown_name("part of the suite to time", name, PARTS, "Correct the argument.")
    names = tuple(filter(None, backends.split(","))) or BACKENDS
    for name in names:
        if name not in BACKENDS:
            raise unknown_name("sparse backend", name, BACKENDS, "Correct --backends.")
    if batch is not None and batch < 1:
        raise ConfigError(f"--batch is {batch}. At least 1 event was expected. Type --batch 8.")
    device_type = choose_device(device)
    for option, is_set in (("--compile", compiled), ("--tune", tune)):
        if is_set and device_type != "cuda":
            raise ConfigError(f"{option} was given on a CPU. A GPU was expected. Leave it out, or add --device cuda.")
    timer = _PartTimer(device_type, models.split(","), preset, batch, sizes.split(","), names, quick, compiled)
    events = load_events("lartpc-sim", data) if tune or set(chosen) - {"simulation"} else None
    if tune and events is not None:
        console().print(f"tiles kept: {timer.tune(events)}", soft_wrap=True, highlight=False)
    tables = {name: timer.rows(name, events) for name in chosen}
    machine = describe_machine(device_type, "bf16" if device_type == "cuda" else "32", usable_cores())
    report = {
        "command": typed_command(),
        "environment": machine,
        "events": None if events is None else events.describe(),
        "tables": tables,
    }
    atomic_write_json(out / "perf.json", report)
    for name, rows in tables.items():
        _show(name, rows, machine)
    console().print(f"written: {out / 'perf.json'}", soft_wrap=True, highlight=False)


class _PartTimer:
    """Times the parts of the suite with these settings."""

    def __init__(
        self, device: str, models: Sequence[str], preset: str | None, batch: int | None, sizes: Sequence[str],
        backends: Sequence[str], quick: bool, compiled: bool,
    ) -> None:  # fmt: skip
        on_gpu = device == "cuda"
        self.device, self.models, self.sizes, self.backends, self.quick = device, models, sizes, backends, quick
        self.compiled = compiled
        self.preset = preset or ("paper" if on_gpu else "default")
        self.batch = batch or (128 if on_gpu else 8)
        self.rounds = (3, 10) if quick or not on_gpu else (20, 30)  # warm-up and timed

    def rows(self, part: str, events: Events | None) -> list[dict[str, Any]]:
        """The table of one part."""
        if part == "simulation":
            from benchmark.datasets.larsim.production import simulate_dataset
            from benchmark.perf.events import simulation_rows

            return simulation_rows(
                lambda folder, n: simulate_dataset(folder, events=n, val=0, test=1, workers=1), say=_print_progress
            )
        if events is None:
            raise ConfigError(f"{part} needs events. A dataset was expected. Give --data.")
        if part == "loading":
            from benchmark.perf.events import loading_rows

            return loading_rows(events.chosen, say=_print_progress)
        if part == "tokens":
            from benchmark.perf.tokens import BATCHES, token_rows

            sizes = (BATCHES[0], BATCHES[-1]) if self.quick else BATCHES
            return token_rows(events.coords(), self.device, sizes, *self.rounds, say=_print_progress)
        if part == "sparse":
            return self._sparse(events)
        return self._steps(events)

    def tune(self, events: Events) -> Path:
        """Find the fastest tiles for this GPU; returns the file with them."""
        import torch

        from benchmark.hardware import tiles
        from benchmark.perf.tiles import tune_tiles

        device, (batch,) = torch.device("cuda", torch.cuda.current_device()), self._batches(events, 1)
        chosen = tune_tiles(_voxels(events), self.sizes, batch, self.models, self.preset, device, say=_print_progress)
        return tiles.write(tiles.file_of(device), chosen)

    def _sparse(self, events: Events) -> list[dict[str, Any]]:
        from benchmark.perf.sparse import sparse_rows
        from benchmark.sparse.public_benchmark import VOXELS

        batches = (min(VOXELS), max(VOXELS)) if self.quick else tuple(VOXELS)
        return sparse_rows(
            _voxels(events), self.device, self.sizes, batches, self.backends, *self.rounds, say=_print_progress
        )

    def _steps(self, events: Events) -> list[dict[str, Any]]:
        from benchmark.perf.steps import N_INPUTS, step_rows

        drawn = self._batches(events, N_INPUTS)
        return step_rows(
            drawn, self.models, self.preset, self.device, *self.rounds, say=_print_progress, compiled=self.compiled
        )

    def _batches(self, events: Events, n: int) -> list[PointBatch]:
        """Batches as in training."""
        from benchmark.data.stream import training_batch

        size = min(self.batch, len(events))
        return [training_batch(events.chosen, i, size, 0, "perf", rotation="event") for i in range(n)]


def _voxels(events: Events) -> list[tuple[Tensor, Tensor]]:
    """Coordinates and energies of each event."""
    import torch

    return [(torch.as_tensor(b.coords), torch.as_tensor(b.column("log_energy"))) for b in events]


def _print_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(name: str, rows: Sequence[dict[str, Any]], environment: dict[str, Any]) -> None:
    from benchmark.reports.fitted_table import FittedTable

    versions = environment["versions"]
    title = f"{name}: {environment['device_name']}, torch {versions['torch']}"
    columns = list(rows[0]) if rows else []
    numbers = [name for name in columns if all(isinstance(row[name], int | float | None) for row in rows)]
    table = FittedTable(title, columns, numbers=numbers, shown_by="perf.json in the folder of --out")
    for row in rows:
        table.row(*("-" if v is None else str(v) for v in row.values()))
    console().print(table)
