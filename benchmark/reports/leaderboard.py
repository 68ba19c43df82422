"""Leaderboards from records alone: one for everything that scores were made on, by budget and best first. No torch.

Rows of one table share task, dataset revision, protocol, split, and events with their truth
(`benchmark.records.scored`); rows that were scored on other events have a table of their own, which names what was set.
A row is the mean over draws and seeds, with its paired difference to the best row of its budget.
`benchmark.reports.formats` writes leaderboards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmark.metrics.families import Column
from benchmark.metrics.few_events import RULE
from benchmark.records.record import RunRecord
from benchmark.records.scored import Scored, by_truth, cuts_text, n_independent, scored, units_of
from benchmark.records.scores import row_order, score_in_column
from benchmark.reports.averages import Average, averages
from benchmark.reports.convergence import MARK, converged
from benchmark.reports.convergence import NOTE as CONVERGENCE_NOTE
from benchmark.reports.differing import differing_settings
from benchmark.reports.paired_differences import Difference, differences_to_best, is_separated_best
from benchmark.reports.score_text import NO_INTERVAL, places_of
from benchmark.reports.tables import cell, dirty_note, shown

NONE = "-"
ABOUT = ("task", "version", "dataset", "revision", "protocol", "split", "cuts")  # what a leaderboard has in common
BOLD_NOTE = "bold: a row of several runs that the paired 95% interval separates from every other of its budget"


@dataclass(frozen=True)
class Head:
    """A column; only `brief` ones are in short tables."""

    title: str
    key: str  # in machine-readable formats
    number: bool = True
    brief: bool = True


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, and its value with the ends of its interval."""

    text: str
    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    bold: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """One task and dataset revision, scored by one protocol (empty: the suite's own) on the same events of a split."""

    task: str
    version: str
    dataset: str
    revision: str
    protocol: str
    split: str
    cuts: str  # settings by which its events are others than those of most runs; empty where these were scored
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    averages: tuple[Average, ...] = field(default=(), compare=False, repr=False)  # of each row

    @property
    def title(self) -> str:
        """Task, dataset, protocol, split and cuts."""
        protocol = f", {self.protocol} protocol" if self.protocol else ""
        cuts = f", {self.cuts}" if self.cuts else ""
        data = f"{self.dataset}, {self.revision}"
        return f"{self.task} (version {self.version}) on {data}{protocol}, {self.split} split{cuts}"

    def column(self, key: str) -> list[Cell]:
        """The cells of one column."""
        index = [head.key for head in self.heads].index(key)
        return [row[index] for row in self.rows]

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


def leaderboards(records: Iterable[RunRecord], each_run: bool = False, split: str = "test") -> list[Leaderboard]:
    """One for everything that these records were scored on, in sorted order; a row averages draws and seeds.

    each_run: a row is a run. Records of another split are left out; a publication's protocol has its own.
    """
    on_same: dict[Scored, list[RunRecord]] = {}
    for record in records:
        if record.is_in_tables_of(split):
            on_same.setdefault(scored(record), []).append(record)
    tables: dict[tuple[str, ...], list[list[RunRecord]]] = {}  # of one task, data and split
    for what, group in sorted(on_same.items()):
        tables.setdefault(what.without_events, []).extend(by_truth(group))
    boards = []
    for _, groups in sorted(tables.items()):
        usual, *others = sorted(groups, key=lambda g: (len(g), g[0].events["test"]), reverse=True)
        boards.append(_leaderboard(usual, "", each_run))
        boards += [_leaderboard(group, cuts_text(group[0], usual[0]), each_run) for group in others]
    return boards


def _leaderboard(records: list[RunRecord], cuts: str, each_run: bool) -> Leaderboard:
    columns = shown(records[0])
    ordered = sorted(averages(records, each_run), key=lambda row: row_order(row.record))
    apart = differing_settings([row.record for row in ordered], each_run)
    unfinished = {id(row) for row, is_enough in zip(ordered, converged(ordered), strict=True) if is_enough is False}
    settings = {id(row): text for row, text in zip(ordered, apart, strict=True)} if any(apart) else {}
    rows: list[tuple[Cell, ...]] = []
    for group in _group_by_budget(ordered):
        is_best = is_separated_best(group)
        for i, (row, difference) in enumerate(zip(group, differences_to_best(group), strict=True)):
            told = settings.get(id(row))
            is_short, is_bold = id(row) in unfinished, is_best and i == 0
            rows.append(_leaderboard_row(row, columns, each_run, told, difference, bold=is_bold, short=is_short))
    n_older = len(records) - sum(row.n_runs for row in ordered)
    notes = [
        dirty_note(records),
        BOLD_NOTE if any(cell.bold for row in rows for cell in row) else "",
        _interval_note(ordered[0].record, rows),
        CONVERGENCE_NOTE if unfinished else "",
        f"{n_older} older records with the settings, draw and seed of a newer one are left out" if n_older else "",
    ]
    heads = _heads(records[0], columns, each_run, bool(settings))
    about, shown_notes = scored(records[0]).without_events, tuple(note for note in notes if note)
    return Leaderboard(*about, cuts, heads, tuple(rows), shown_notes, tuple(ordered))


def _interval_note(record: RunRecord, rows: Sequence[Sequence[Cell]]) -> str:
    """How many independent events were resampled, where the samples are not independent; and what [-] means."""
    if not any(cell.text.endswith(NO_INTERVAL) for row in rows for cell in row):
        rule = ""
    elif record.per_event and units_of(record) is None:
        return f"{NO_INTERVAL}: no interval, as older records do not say which samples are of one event or scan"
    else:
        rule = RULE
    n_units = n_independent(record)
    together = "" if n_units == record.events["test"] else f"the samples are of {n_units:,} independent events"
    return ". ".join(filter(None, (together, rule)))


def _group_by_budget(ordered: Sequence[Average]) -> list[list[Average]]:
    groups: dict[str, list[Average]] = {}
    for row in ordered:
        groups.setdefault(row.record.labels, []).append(row)
    return list(groups.values())


def _heads(record: RunRecord, columns: Sequence[Column], each_run: bool, settings: bool) -> tuple[Head, ...]:
    repetition = ("draw", "seed") if each_run else ("runs", "spread")
    apart = ("settings",) if settings else ()
    steps = "training tokens" if record.is_probe else "steps"
    return (
        *(Head(name, name, number=False) for name in ("model", "preset", "mode", *apart, "labels", *repetition)),
        Head(f"{columns[0].title} [95%]", columns[0].name),
        Head("difference to best [95%]", "difference_to_best"),
        *(Head(c.title, _column_key(c)) for c in columns[1:]),
        Head("events", "n_events"),
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


def _column_key(column: Column) -> str:
    return column.name if column.row is None else f"{column.name}_{column.row}"


def _leaderboard_row(
    row: Average, columns: Sequence[Column], each_run: bool, settings: str | None, difference: Difference | None,
    bold: bool, short: bool,
) -> tuple[Cell, ...]:  # fmt: skip
    """The cells of a row. settings: what tells it from others of its name; None: the table has no such column. short:
    not converged.
    """
    record = row.record
    c = record.config
    mark = "" if record.status == "finished" else f" ({record.status})"
    name = record.method + mark + ("*" if any(r.environment.get("dirty") for r in row.runs) else "")
    name += f" {MARK}" if short else ""
    spread = NONE if row.spread is None else f"{row.spread:.3f}"
    repetition = (
        tuple(Cell(str(v), v) for v in (record.known("draw"), record.known("seed")))
        if each_run
        else (Cell(str(row.n_runs), row.n_runs), Cell(spread, row.spread))
    )
    labels: float | str = c["labels"] if record.says("labels") and c["labels"] is not None else record.labels
    first, *further = (_score_cell(record, column) for column in columns)
    return (
        Cell(name, record.method), Cell(c["preset"], c["preset"]), Cell(c["mode"], c["mode"]),
        *(() if settings is None else (Cell(settings, settings),)), Cell(record.labels, labels), *repetition,
        Cell(first.text, first.value, first.low, first.high, bold), _difference_cell(difference, columns[0]), *further,
        *_cost_cells(row),
    )  # fmt: skip


def _score_cell(record: RunRecord, column: Column) -> Cell:
    entry = score_in_column(record, column) or {}
    return Cell(cell(record, column), entry.get("value"), entry.get("low"), entry.get("high"))


def _difference_cell(difference: Difference | None, column: Column) -> Cell:
    if difference is None:
        return Cell(NONE)
    return Cell(difference.text(places_of(column)), difference.value, difference.low, difference.high)


def _cost_cells(row: Average) -> tuple[Cell, ...]:
    record = row.record
    probed = record.training.get("probe") or {}
    wall_s = _mean_or_none([r.run_s for r in row.runs])
    flops = _mean_or_none([r.resources.get("flops_per_event") for r in row.runs])
    energy = _mean_or_none([r.resources.get("energy_j") for r in row.runs])
    steps = probed.get("n_tokens", 0) if record.is_probe else record.training.get("steps")
    commits = sorted({r.code if r.code.startswith("wheel") else r.code[:9] for r in row.runs})
    devices = sorted({str(r.environment.get("device_name", r.environment.get("device", "unknown"))) for r in row.runs})
    return (
        _number_cell(record.events["test"], ","), _number_cell(steps, "," if record.is_probe else "d"),
        _number_cell(record.events.get("unlabelled"), ","), _number_cell(record.events.get("selection"), ","),
        _number_cell(record.resources.get("n_parameters", 0), ","),
        _number_cell(None if flops is None else flops / 1e9, ".2f"), _number_cell(wall_s, ".0f"),
        _number_cell(None if energy is None else energy / 1e3, ".1f"),
        Cell(", ".join(devices), ", ".join(devices)), Cell(" ".join(commits), " ".join(commits)),
    )  # fmt: skip


def _number_cell(value: float | None, form: str) -> Cell:
    return Cell(NONE) if value is None else Cell(format(value, form), value)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
