"""`list`: models, baselines, pretexts, datasets, tasks and backends, their requirements, and whether they run here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer

from benchmark.cli.app import app, console

KINDS = ("models", "baselines", "pretexts", "datasets", "tasks", "backends")
_MODEL_COLUMNS = ("name", "presets", "tasks", "pre-trains", "summary", "here")
_IMPORTANT = ("summary", "here", "tasks", "presets", "classes")  # where there is little room
_DATASET_COLUMNS = ("name", "tasks", "licence", "summary", "here")
_PRETEXT_COLUMNS = ("name", "presets", "summary", "here")


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
    from benchmark.reports.fitted_table import FittedTable

    screen = console()
    for name, entries in rows.items():
        table = FittedTable(name, list(entries[0]) if entries else (), first=_IMPORTANT, shown_by="--json")
        for entry in entries:
            table.row(*(str(v) for v in entry.values()))
        screen.print(table)


def _rows(kind: str) -> list[dict[str, Any]]:
    if kind == "tasks":
        from benchmark.tasks import every

        return [
            {
                "name": t.name,
                "detector": t.detector,
                "level": t.level,
                "classes": ", ".join(t.classes),
                "summary": t.summary,
            }
            for t in every().values()
        ]
    if kind == "backends":
        from benchmark.hardware.available import backends

        return [{"name": b.name, "for": b.purpose, "here": b.available() or "ready"} for b in backends()]
    from benchmark import registry

    if kind == "baselines":
        return [_model_row(name) for name in registry.model_names(kind)]
    describe, names, group = {
        "models": (_model_row, registry.model_names, registry.PLUGINS),
        "pretexts": (_pretext_row, registry.pretext_names, registry.PRETEXT_PLUGINS),
        "datasets": (_dataset_row, registry.dataset_names, registry.DATASET_PLUGINS),
    }[kind]
    installed = names(group)
    return [
        *(describe(name) for name in names("models" if kind == "models" else None) if name not in installed),
        *(_plugin_row(describe, name) for name in installed),
        *(_failed_row(describe, name, reason) for name, reason in registry.refused_plugins(group).items()),
    ]


def _plugin_row(describe: Callable[[str], dict[str, Any]], name: str) -> dict[str, Any]:
    """Row of an installed package's model or dataset; an error becomes its text."""
    from benchmark.errors import one_line

    try:
        return describe(name)
    except Exception as error:
        return _failed_row(describe, name, f"its description fails ({type(error).__name__}: {one_line(error)})")


def _failed_row(describe: Callable[[str], dict[str, Any]], name: str, reason: str) -> dict[str, Any]:
    others = _PRETEXT_COLUMNS if describe is _pretext_row else _DATASET_COLUMNS
    columns = _MODEL_COLUMNS if describe is _model_row else others
    return {**dict.fromkeys(columns, ""), "name": name, "here": reason}


def _model_row(name: str) -> dict[str, Any]:
    from benchmark import registry
    from benchmark.errors import BenchmarkError
    from benchmark.packages import missing_packages
    from benchmark.runs.resolve import can_do
    from benchmark.tasks import every

    try:
        spec = registry.model_spec(name)
    except BenchmarkError as error:
        return {**_failed_row(_model_row, name, str(error)), "summary": _summary(name)}
    fitting = [t for t in every().values() if can_do(spec, t)]
    reasons = [r for r in (missing_packages(spec.extras), *(spec.skip(t, "cpu") for t in fitting)) if r]
    return {
        "name": name,
        "presets": ", ".join(_preset_names(name) for name in spec.presets),
        "tasks": ", ".join(t.name for t in fitting),
        "pre-trains": "by itself" if spec.pretrains else "on any pretext" if spec.has_point_features else "no",
        "summary": spec.summary,
        "here": reasons[0] if reasons else "ready",
    }


def _summary(name: str) -> str:
    """Summary in the file of a model that cannot be imported; empty where it cannot be read."""
    from benchmark import registry
    from benchmark.errors import BenchmarkError

    try:
        return registry.summary(registry.model_file(name))
    except (BenchmarkError, OSError, ValueError, SyntaxError):
        return ""


def _preset_names(preset: str) -> str:
    from benchmark.runs.resolve import PRESET_ALIASES

    aliases = [alias for alias, name in PRESET_ALIASES.items() if name == preset]
    return f"{preset} (or {', '.join(aliases)})" if aliases else preset


def _pretext_row(name: str) -> dict[str, Any]:
    from benchmark import registry
    from benchmark.errors import BenchmarkError

    try:
        spec = registry.pretext_spec(name)
    except BenchmarkError as error:
        return _failed_row(_pretext_row, name, str(error))
    presets = ", ".join(_preset_names(preset) for preset in spec.presets)
    return {"name": name, "presets": presets, "summary": spec.summary, "here": "ready"}


def _dataset_row(name: str) -> dict[str, Any]:
    from benchmark import registry
    from benchmark.errors import BenchmarkError
    from benchmark.packages import missing_packages

    try:
        spec = registry.dataset_spec(name)
    except BenchmarkError as error:
        return _failed_row(_dataset_row, name, str(error))
    return {
        "name": name,
        "tasks": ", ".join(spec.info.tasks),
        "licence": spec.info.licence,
        "summary": spec.info.summary,
        "here": missing_packages(spec.extras) or "ready",
    }
