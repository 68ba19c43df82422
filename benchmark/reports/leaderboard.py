"""Leaderboards from records alone: one per task, dataset revision and protocol, by budget and best first. No torch.

A row is the mean over draws and seeds. Behind it: the difference to the best row of its budget, resampled in pairs.
How a leaderboard is written down is in `benchmark.reports.formats`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmark.metrics.families import Column
from benchmark.records.record import RunRecord
from benchmark.records.scores import row_order, score_in_column
from benchmark.reports.averages import Average, averages
from benchmark.reports.paired_differences import Difference, behind, leads
from benchmark.reports.score_text import places_of
from benchmark.reports.tables import cell, dirty_note, shown

NONE = "-"
ABOUT = ("task", "version", "dataset", "revision", "protocol")  # what a whole leaderboard has in common
BOLD_NOTE = "bold: the paired 95% interval separates this row from every other of its budget"


@dataclass(frozen=True)
class Head:
    """A column: `brief` ones are shown where there is little room."""

    title: str
    key: str  # of the machine-readable forms
    number: bool = True
    brief: bool = True


@dataclass(frozen=True)
class Cell:
    """What a table shows, and the number behind it with the ends of its interval."""

    text: str
    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    bold: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """One task and dataset revision, scored by one protocol (empty: the suite's own)."""

    task: str
    version: str
    dataset: str
    revision: str
    protocol: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    averages: tuple[Average, ...] = field(default=(), compare=False, repr=False)  # what each row was made of

    @property
    def title(self) -> str:
        """What was scored on what."""
        own = f", {self.protocol} protocol" if self.protocol else ""
        return f"{self.task} (version {self.version}) on {self.dataset}, {self.revision}{own}"

    def column(self, key: str) -> list[Cell]:
        """The cells of one column."""
        place_of = [head.key for head in self.heads].index(key)
        return [row[place_of] for row in self.rows]

    def values(self) -> list[dict[str, float | str | None]]:
        """The numbers of each row by key, what was scored on what in front, and intervals as `<key>_low`, `<key>_high`.

        A cell without an interval has no such keys.
        """
        return [{**{name: getattr(self, name) for name in ABOUT}, **_values(self.heads, row)} for row in self.rows]


def _values(heads: Sequence[Head], row: Sequence[Cell]) -> dict[str, float | str | None]:
    found: dict[str, float | str | None] = {}
    for head, held in zip(heads, row, strict=True):
        found[head.key] = held.value
        if held.low is not None or held.high is not None:
            found |= {f"{head.key}_low": held.low, f"{head.key}_high": held.high}
    return found


def leaderboards(records: Iterable[RunRecord], each_run: bool = False) -> list[Leaderboard]:
    """One per task, dataset revision and protocol, in sorted order; a row averages draws and seeds, or is a run."""
    groups: dict[tuple[str, str, str, str, str], list[RunRecord]] = {}
    for record in records:
        data = (record.dataset["name"], record.dataset["revision"])
        key = (record.task["name"], str(record.task["version"]), *data, record.protocol)
        groups.setdefault(key, []).append(record)
    return [_leaderboard(key, group, each_run) for key, group in sorted(groups.items())]


def _leaderboard(key: tuple[str, str, str, str, str], records: list[RunRecord], each_run: bool) -> Leaderboard:
    columns = shown(records[0])
    ordered = sorted(averages(records, each_run), key=lambda row: row_order(row.record))
    rows: list[tuple[Cell, ...]] = []
    for group in _budgets(ordered):
        leading = leads(group)
        for i, (row, difference) in enumerate(zip(group, behind(group), strict=True)):
            rows.append(_row(row, columns, each_run, difference, bold=leading and i == 0))
    older = len(records) - sum(row.n_runs for row in ordered)
    notes = [
        dirty_note(records),
        BOLD_NOTE if any(cell.bold for row in rows for cell in row) else "",
        f"{older} older records with the settings, draw and seed of a newer one are left out" if older else "",
    ]
    heads = _heads(records[0], columns, each_run)
    return Leaderboard(*key, heads, tuple(rows), tuple(filter(None, notes)), tuple(ordered))


def _budgets(ordered: Sequence[Average]) -> list[list[Average]]:
    groups: dict[str, list[Average]] = {}
    for row in ordered:
        groups.setdefault(row.record.labels, []).append(row)
    return list(groups.values())


def _heads(record: RunRecord, columns: Sequence[Column], each_run: bool) -> tuple[Head, ...]:
    repetition = ("draw", "seed") if each_run else ("runs", "spread")
    steps = "training tokens" if record.is_probe else "steps"
    return (
        *(Head(name, name, number=False) for name in ("model", "preset", "mode", "labels", *repetition)),
        Head(f"{columns[0].title} [95%]", columns[0].name),
        Head("behind the best [95%]", "behind_best"),
        *(Head(c.title, _key(c)) for c in columns[1:]),
        Head(steps, steps.replace(" ", "_")),
        Head("unlabelled events", "unlabelled_events", brief=False),
        Head("selection labels", "selection_labels", brief=False),
        Head("parameters", "n_parameters"),
        Head("GFLOPs per event", "gflops_per_event", brief=False),
        Head("wall s", "wall_s"),
        Head("energy kJ", "energy_kj", brief=False),
        Head("device", "device", number=False, brief=False),
        Head("commit", "commit", number=False, brief=False),
    )


def _key(column: Column) -> str:
    return column.name if column.row is None else f"{column.name}_{column.row}"


def _row(
    row: Average, columns: Sequence[Column], each_run: bool, difference: Difference | None, bold: bool
) -> tuple[Cell, ...]:
    record = row.record
    c = record.config
    mark = "" if record.status == "finished" else f" ({record.status})"
    name = record.model + mark + ("*" if any(r.environment.get("dirty") for r in row.runs) else "")
    spread = NONE if row.spread is None else f"{row.spread:.3f}"
    repetition = (
        (Cell(str(c["draw"]), c["draw"]), Cell(str(c["seed"]), c["seed"]))
        if each_run
        else (Cell(str(row.n_runs), row.n_runs), Cell(spread, row.spread))
    )
    labels: float | str = "all" if c["labels"] is None else c["labels"]
    first, *others = (_score(record, column) for column in columns)
    return (
        Cell(name, record.model), Cell(c["preset"], c["preset"]), Cell(c["mode"], c["mode"]),
        Cell(record.labels, labels), *repetition,
        Cell(first.text, first.value, first.low, first.high, bold), _behind(difference, columns[0]), *others,
        *_cost(row),
    )  # fmt: skip


def _score(record: RunRecord, column: Column) -> Cell:
    entry = score_in_column(record, column) or {}
    return Cell(cell(record, column), entry.get("value"), entry.get("low"), entry.get("high"))


def _behind(difference: Difference | None, column: Column) -> Cell:
    if difference is None:
        return Cell(NONE)
    places, d = places_of(column), difference
    text = f"{d.value:+.{places}f} [{d.low:+.{places}f}, {d.high:+.{places}f}]"
    return Cell(text, d.value, d.low, d.high)


def _cost(row: Average) -> tuple[Cell, ...]:
    record = row.record
    probed = record.training.get("probe") or {}
    wall_s = _mean([r.resources.get("wall_s") for r in row.runs])
    flops = _mean([r.resources.get("flops_per_event") for r in row.runs])
    energy = _mean([r.resources.get("energy_j") for r in row.runs])
    steps = probed.get("n_tokens", 0) if record.is_probe else record.training.get("steps")
    commits = sorted({str(r.environment.get("commit") or "unknown")[:9] for r in row.runs})
    devices = sorted({str(r.environment.get("device_name", r.environment.get("device", "unknown"))) for r in row.runs})
    return (
        _number(steps, "," if record.is_probe else "d"),
        _number(record.events.get("unlabelled"), ","), _number(record.events.get("selection"), ","),
        _number(record.resources.get("n_parameters", 0), ","),
        _number(None if flops is None else flops / 1e9, ".2f"), _number(wall_s or 0.0, ".0f"),
        _number(None if energy is None else energy / 1e3, ".1f"),
        Cell(", ".join(devices), ", ".join(devices)), Cell(" ".join(commits), " ".join(commits)),
    )  # fmt: skip


def _number(value: float | None, form: str) -> Cell:
    return Cell(NONE) if value is None else Cell(format(value, form), value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
