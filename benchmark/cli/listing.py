"""`list`: models, baselines, datasets, tasks and backends, with what each needs and why one cannot run here."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from benchmark.cli.app import app, console

KINDS = ("models", "baselines", "datasets", "tasks", "backends")


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; without it, all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the suite has, what each needs, and why one cannot run here."""
    from benchmark.errors import unknown_name

    if kind is not None and kind not in KINDS:
        raise unknown_name("kind of thing to list", kind, KINDS, "Type `python -m benchmark list`.")
    rows = {k: _rows(k) for k in KINDS if kind in (None, k)}
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from rich.table import Table

    screen = console()
    for name, entries in rows.items():
        table = Table(title=name, title_justify="left", expand=False)
        for column in entries[0]:
            table.add_column(column, overflow="fold")
        for entry in entries:
            table.add_row(*(str(v) for v in entry.values()))
        screen.print(table)


def _rows(kind: str) -> list[dict[str, Any]]:
    if kind == "tasks":
        from benchmark.tasks import TASKS

        return [
            {
                "name": t.name,
                "detector": t.detector,
                "level": t.level,
                "classes": ", ".join(t.classes),
                "summary": t.summary,
            }
            for t in TASKS.values()
        ]
    if kind == "backends":
        from benchmark.hardware.available import backends

        return [{"name": b.name, "for": b.purpose, "here": b.available() or "ready"} for b in backends()]
    if kind == "datasets":
        return [_dataset(name) for name in _names(kind)]
    return [_model(name) for name in _names(kind)]


def _names(kind: str) -> list[str]:
    from benchmark import registry

    if kind == "datasets":
        return registry.dataset_names()
    plugins = registry.model_names(registry.PLUGINS) if kind == "models" else []
    return [*registry.model_names(kind), *plugins]


def _model(name: str) -> dict[str, Any]:
    from benchmark import registry
    from benchmark.errors import BenchmarkError
    from benchmark.runs.resolve import can_do
    from benchmark.tasks import TASKS

    try:
        spec = registry.model_spec(name)
    except BenchmarkError as error:
        summary = registry.summary(registry.model_file(name))
        return {"name": name, "presets": "", "tasks": "", "pre-trains": "", "summary": summary, "here": str(error)}
    fitting = [t for t in TASKS.values() if can_do(spec, t)]
    reasons = [r for r in (_missing(spec.extras), *(spec.skip(t, "cpu") for t in fitting)) if r]
    return {
        "name": name,
        "presets": ", ".join(_called(name) for name in spec.presets),
        "tasks": ", ".join(t.name for t in fitting),
        "pre-trains": "yes" if spec.pretrains else "no",
        "summary": spec.summary,
        "here": reasons[0] if reasons else "ready",
    }


def _called(preset: str) -> str:
    from benchmark.runs.resolve import PRESET_ALIASES

    others = [alias for alias, name in PRESET_ALIASES.items() if name == preset]
    return f"{preset} (or {', '.join(others)})" if others else preset


def _dataset(name: str) -> dict[str, Any]:
    from benchmark import registry
    from benchmark.errors import BenchmarkError

    try:
        spec = registry.dataset_spec(name)
    except BenchmarkError as error:
        return {"name": name, "tasks": "", "licence": "", "summary": "", "here": str(error)}
    return {
        "name": name,
        "tasks": ", ".join(spec.info.tasks),
        "licence": spec.info.licence,
        "summary": spec.info.summary,
        "here": _missing(spec.extras) or "ready",
    }


def _missing(extras: tuple[str, ...]) -> str | None:
    absent = [name for name in extras if find_spec(name) is None]
    return f"needs {', '.join(absent)}: pip install {' '.join(absent)}" if absent else None
