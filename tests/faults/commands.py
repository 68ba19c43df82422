"""The commands that are disturbed, each in a folder of its own, and what has to be the same afterwards."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.synthetic import make_data

TINY = ("--preset", "tiny", "--dataset", "pilarnet-m", "--data", "data", "--threads", "1")
NO_CUT = ("--set", "preprocess.min_points=0")
SHORT = (*NO_CUT, "--set", "train.steps=4", "--set", "train.checkpoint_every=1")
SITE = ("site", "--out", "site", "--events", "0")
RUN = ("run", "--model", "pointnet", "--labels", "6", *TINY, *SHORT)


OTHER_BYTES = ("simulation.json", "manifest.json", ".lock")  # with dates or versions; of a killed process


def digest(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def runs_in(folder: Path) -> dict[str, Any]:
    """File of each record -> what a repetition must give again, to the last bit."""
    found = {}
    for path in sorted((folder / "runs" / "records").rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        training = {k: v for k, v in record["training"].items() if k not in ("resumed_at", "pretraining", "wall_s")}
        found[path.name] = [record["status"], record["fingerprint"], record["metrics"], record["per_event"], training]
    for path in sorted((folder / "runs").glob("*/model.safetensors")):
        found[f"{path.parent.name}/weights"] = digest(path)
    return found


def pretrained_in(folder: Path) -> dict[str, Any]:
    """Weights of the pre-training, in the cache and copied."""
    (record,) = (folder / "cache" / "pretrained").glob("*/training.json")
    kept = json.loads(record.read_text(encoding="utf-8"))
    copied = json.loads((folder / "w.json").read_text(encoding="utf-8"))
    files = [digest(record.parent / "weights.safetensors"), digest(folder / "w.safetensors")]
    sums = [kept["weights_sha256"], copied["weights_sha256"]]
    return {"history": kept["history"], "weights": {*files, *sums} == {files[0]} and files[0]}


def files_in(name: str) -> Callable[[Path], dict[str, Any]]:
    """Outcome of a command that writes the same bytes every time into the folder `name`; manifests aside."""

    def outcome(folder: Path) -> dict[str, Any]:
        root = folder / name
        files = (p for p in sorted(root.rglob("*")) if p.is_file() and not p.name.endswith(OTHER_BYTES))
        return {path.relative_to(root).as_posix(): digest(path) for path in files}

    return outcome


def site_in(folder: Path) -> dict[str, Any]:
    """Pages of the site; the time at which it was made is left out."""
    found = files_in("site")(folder)
    text = (folder / "site" / "data" / "index.js").read_text(encoding="utf-8")
    found["data/index.js"] = json.loads(text.partition("=")[2].rstrip(";\n")) | {"made": None}
    return found


def tables_in(folder: Path) -> dict[str, Any]:
    """Tables of the leaderboard in every form."""
    with (folder / "tables" / "leaderboard.csv").open(encoding="utf-8") as stream:
        assert list(csv.reader(stream))
    return files_in("tables")(folder)


def tuning_in(folder: Path) -> dict[str, Any]:
    """Trials of the search, without their times."""
    (path,) = (folder / "runs" / "tuning").rglob("*.json")
    tuning = json.loads(path.read_text(encoding="utf-8"))
    trials = [{k: v for k, v in trial.items() if k != "wall_s"} for trial in tuning["trials"]]
    return {"file": path.name, "best": tuning["best_rate"], "trials": trials}


@dataclass(frozen=True)
class Command:
    """A command line, the commands that have to come before it, and the part of its result that must not change."""

    name: str
    words: tuple[str, ...]
    outcome: Callable[[Path], dict[str, Any]]
    before: tuple[tuple[str, ...], ...] = ()
    weight: int = 1  # moments of this command, relative to others


COMMANDS = {
    c.name: c
    for c in (
        Command("simulate", ("data", "simulate", "--out", "sim", "--events", "30", "--workers", "1"), files_in("sim")),
        Command("pack", ("data", "info", "pilarnet-m", "--data", "data"), files_in("cache/packed")),
        Command(
            "pretrain",
            ("pretrain", "--model", "polarmae", *TINY, *NO_CUT, "--set", "pretrain.steps=4", "--set",
             "pretrain.checkpoint_every=1", "--set", "pretrain.events=8", "--out", "w.safetensors"),
            pretrained_in,
        ),
        Command("run", RUN, runs_in),
        Command(
            "evaluate",
            ("evaluate", "--checkpoint", "weights.safetensors", "--dataset", "pilarnet-m", "--data", "data",
             "--threads", "1"),
            runs_in, before=(RUN,),
        ),
        Command(
            "sweep",
            ("sweep", "--models", "majority,pointnet", "--labels", "6", "--workers", "1", *TINY, *SHORT),
            runs_in,
        ),
        Command("site", SITE, site_in, before=(RUN, SITE)),
        Command("leaderboard", ("leaderboard", "--out", "tables"), tables_in, before=(RUN,)),
        Command(
            "tune", ("tune", "--model", "pointnet", "--labels", "6", "--rates", "1e-3,1e-2", *TINY, *SHORT), tuning_in
        ),
    )
}  # fmt: skip


def start_folder(root: Path) -> Path:
    """A folder with events and an empty cache, which every trial begins with."""
    make_data(root)
    (root / "pilarnet").rename(root / "data")
    (root / "cache").mkdir()
    return root
