"""Records, searches for a learning rate, sweeps, published numbers, and the records of pre-trainings."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmark.checkpoints.shipped import find_shipped, mismatched_settings
from benchmark.cli.tune import table as tuning_table
from benchmark.contracts.safetensors_io import write_safetensors
from benchmark.data.preparation import preparation
from benchmark.errors import RecordError
from benchmark.hardware import tiles
from benchmark.io import atomic_write_json, sha256_file
from benchmark.records.counts import pack_counts, unpack_counts, unpack_event_ids
from benchmark.records.published import published
from benchmark.records.record import RunRecord
from benchmark.records.store import read_record, read_records
from benchmark.records.tuning import read_tunings
from benchmark.registry import model_spec
from benchmark.reports.check import check_records
from benchmark.reports.compare import compare
from benchmark.reports.efficiency import curves
from benchmark.reports.fairness import fair_tables
from benchmark.reports.formats import FORMATS, rich
from benchmark.reports.frames import runs as run_frame
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.tables import run_table
from benchmark.runs import sweep as sweeps
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import resolve
from benchmark.runs.sweep_file import as_sweep, read_sweep
from benchmark.site.boards import board_data
from benchmark.site.pages import script
from benchmark.site.runs import run_data
from benchmark.tasks import task
from builders import many_records
from builders.paths import ROOT
from builders.pilarnet_files import make_events, write_folder
from builders.synthetic import request
from fuzz.events import use_cache_of
from fuzz.mutations import JSON, NUMBERS, TEXTS, Rng, pick
from fuzz.reader import Change, Reader

COMMITTED = ROOT / "leaderboards" / "records"
TASKS = ("cell-to-track", "lartpc-token-probe", "lif-reconstruction", "lif-segmentation", "pion-regression")
MAX_EVENTS = 40
CONFIG = resolve(request()).as_dict()


# --- records ---


def _make_records(folder: Path) -> None:
    rng = np.random.default_rng(5)
    for model, labels, draw in (("pointnet", 10, 0), ("pointnet", 100, 0), ("gnn", 10, 0), ("gnn", 10, 1)):
        record = many_records.made_up(model, labels, draw, 0, rng, n_events=30)
        many_records.write(
            folder / "records",
            replace(record, config={**CONFIG, **record.config, "optim": CONFIG["optim"], "train": CONFIG["train"]}),
        )
    for name in TASKS:
        path = min((COMMITTED / name).rglob("*.json"), key=lambda p: (p.stat().st_size, p.name))
        many_records.write(folder / "records", _with_few_events(read_record(path)))


def _with_few_events(record: RunRecord) -> RunRecord:
    """The record of the first events alone: resampling thousands takes seconds."""
    ids = unpack_event_ids(record.per_event)
    packed = pack_counts(unpack_counts(record.per_event)[:MAX_EVENTS], tuple(ids or ())[:MAX_EVENTS])
    if ids is None:
        del packed["event_ids"]
    return replace(record, per_event=packed)


def _read_records(folder: Path) -> Any:
    """All tables, checks and pages of the records that can be read; then the first that cannot is raised."""
    use_cache_of(folder)
    records, problems = read_records(folder / "records")
    boards = leaderboards(records)
    texts = [write(boards) for _, write in FORMATS.values()]
    texts += [_printed(rich(board, full=True)) for board in boards] + [_printed(run_table(run)) for run in records]
    pages = [json.loads(script("", board_data(board))[1:-2]) for board in boards]
    pages += [json.loads(script("", run_data(run))[1:-2]) for run in records]
    others = [len(fair_tables(records, [])), [len(curves(board)) for board in boards], len(run_frame(records))]
    findings = [f.text for f in check_records(folder / "records")[1]]
    same_task = [r for r in records if r.task["name"] == "lartpc-segmentation" and r.status == "finished"]
    verdicts = [compare(same_task[0], other).verdict for other in same_task[1:]]
    if problems:
        raise RecordError(problems[0])
    return texts, pages, others, len(findings), verdicts


def _printed(table: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def counts(path: Path, rng: Rng) -> None:
    """Counts per event of another shape or type, fewer, or a gigabyte that packs into a megabyte."""
    content = json.loads(path.read_text())
    shape = tuple(content["per_event"]["shape"]) if content.get("per_event") else (3, 4, 4)
    what = int(rng.integers(4))
    if what == 0:
        content["per_event"] = pack_counts(np.zeros((30_000_000, 2, 2), np.int32), ("a",))
    elif what == 1:
        content["per_event"]["shape"] = pick(rng, ([-1], [10**12, 4, 4], list(shape[::-1]), [], [0, 4, 4], [1.5], "x"))
    else:
        numbers = rng.integers(-5, 2**31 - 1, pick(rng, (shape, (*shape[:-1], 7), (2, 2), (0, 4, 4))))
        content["per_event"] = pack_counts(numbers.astype(pick(rng, ("i4", "f4"))), ("a", "b"))
    path.write_text(json.dumps(content))


# --- searches ---


def _make_tunings(folder: Path) -> None:
    for path in sorted((ROOT / "leaderboards" / "tuning").rglob("*.json"))[:3]:
        target = folder / "tuning" / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)


def _read_tunings(folder: Path) -> Any:
    tunings, problems = read_tunings(folder / "tuning")
    texts = [_printed(tuning_table(tuning)) for tuning in tunings]
    texts += [str(len(fair_tables([_record(tuning)], tunings))) for tuning in tunings]
    if problems:
        raise RecordError(problems[0])
    return texts


def _record(tuning: Any) -> RunRecord:
    record = many_records.made_up("pointnet", 10, 0, 0, np.random.default_rng(0), n_events=3)
    return replace(record, config={**tuning.config, "optim": {**tuning.config["optim"], "lr": tuning.best_rate or 1.0}})


# --- sweeps ---

SWEEP = """task = "lartpc-segmentation"
dataset = "pilarnet-m"
models = ["majority", "pointnet"]
labels = [2, 4]
draws = 2
seeds = [0]
preset = "tiny"
set = ["preprocess.min_points=0"]

[settings.pointnet]
set = ["train.steps=3", "optim.lr=1e-3"]
"""


def _make_sweep(folder: Path) -> None:
    (folder / "a.toml").write_text(SWEEP)
    rng = np.random.default_rng(3)
    write_folder(folder / "data", {split: make_events(rng, n) for split, n in (("train", 6), ("test", 2))})


def _read_sweep(folder: Path) -> Any:
    use_cache_of(folder)
    sweeps._committed_records = list  # they only tell the cost, and reading them takes longer than all else
    sweep = as_sweep(read_sweep(folder / "a.toml"))
    jobs = sweeps.plan(sweep, Execution("cpu", 1, folder / "data", folder / "records"))
    return [(job.name, job.fingerprint) for job in jobs]


def toml_values(path: Path, rng: Rng) -> None:
    """One line of a sweep: another value, another key, twice, absent."""
    lines = path.read_text().splitlines()
    at = pick(rng, [i for i, line in enumerate(lines) if line])
    key, _, value = lines[at].partition(" = ")
    what = int(rng.integers(6))
    texts = ("[]", "{}", "nan", "inf", "-1", "1e400", "10**9", "1000000000", "9" * 400, "true", '""', "1979-05-27",
             '["a", 1]', "[nan]", "[0, 0]", "0x7fffffffffffffff", "{set = 1}", "[[]]", '"\\u0000"', '["../x.py"]',
             '["train.steps=nan"]', '["optim.lr=nan"]', '["optim.lr=inf"]', '["train.steps=999999999999"]',
             '["train.batch_size=1000000000000"]', '["model.x=1"]', '["="]', '["preprocess.columns="]',
             '["data.files=-1"]', '["data.files=1e30"]', '["optim.lr=1e-400"]', '["train.steps=1_0"]')  # fmt: skip
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2:
        lines[at] = f"{json.dumps(pick(rng, TEXTS[:-3]))} = {value or 1}"
    elif what == 3:
        lines[at] = value
    else:
        lines[at] = f"{key} = {pick(rng, texts)}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- published numbers ---


def _read_published(folder: Path) -> Any:
    return [dataclasses.astuple(row) for row in published.__wrapped__(folder / "published.csv")]


def _make_published(folder: Path) -> None:
    lines = (ROOT / "leaderboards" / "published.csv").read_text(encoding="utf-8").splitlines()[:30]
    (folder / "published.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def csv_line(path: Path, rng: Rng) -> None:
    """One cell or line of a table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    at = int(rng.integers(len(lines)))
    cells = lines[at].split(",")
    cells[int(rng.integers(len(cells)))] = pick(rng, (*map(str, NUMBERS[:-3]), "nan", '"', "a\0", *TEXTS[3:13]))
    lines[at] = ",".join(cells[: pick(rng, (len(cells), len(cells), 3))])
    path.write_text("\n".join([*lines, pick(rng, ("", lines[at]))]), encoding="utf-8")


# --- pre-trained weights that ship with a model ---


def _make_shipped(folder: Path) -> None:
    shutil.copyfile(ROOT / "models" / "polarmae.py", folder / "own.py")
    record = json.loads((ROOT / "models" / "weights" / "polarmae.json").read_text())
    write_safetensors(folder / "weights" / "own.safetensors", {}, {})
    sha256 = sha256_file(folder / "weights" / "own.safetensors")
    atomic_write_json(folder / "weights" / "own.json", {**record, "weights_sha256": sha256})


def _read_shipped(folder: Path) -> Any:
    from benchmark.runs.pretrained import facts

    shipped = find_shipped(str(folder / "own.py"))
    if shipped is None:
        raise RecordError("no weights ship with it")
    shipped.checked()
    config, spec, its = resolve(request("polarmae")), model_spec("polarmae"), task("lartpc-segmentation")
    names = mismatched_settings(shipped, spec, config.model_config, preparation(its), its, "lartpc-sim")
    return names, dict(facts(dict(shipped.record)))


# --- tuned tiles of a GPU ---


def _make_tiles(folder: Path) -> None:
    use = tiles.Use(sorted(tiles.KERNELS)[0], 16, 32, next(iter(tiles.DTYPES.values())))
    side, warps, stages = tiles.SIDES[0], tiles.WARPS[0], tiles.STAGES[0]
    tiles.write(folder / "tiles.json", {use: tiles.Tile(side, side, side, warps, stages)})


def _read_tiles(folder: Path) -> Any:
    return {str(use): list(sizes) for use, sizes in tiles.read(folder / "tiles.json").items()}


def _json(name: str, make: Any, targets: str, read: Any, **changes: Change) -> Reader:
    return Reader(name, make, targets, read, {**JSON, **changes}, is_text=True)


READERS = (
    _json("record", _make_records, "records/*/*/*.json", _read_records, counts=counts),
    _json("tuning", _make_tunings, "tuning/*.json", _read_tunings),
    Reader("sweep", _make_sweep, "a.toml", _read_sweep, {"values": toml_values}, is_text=True),
    Reader("published", _make_published, "published.csv", _read_published, {"values": csv_line}, is_text=True),
    _json("training-record", _make_shipped, "weights/own.json", _read_shipped),
    _json("tile-sizes", _make_tiles, "tiles.json", _read_tiles),
)
