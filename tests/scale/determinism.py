"""What changes a score, and by how much: the same training under other threads, processes, batches and file orders.

    PYTHONPATH=.:tests python -m scale.determinism --out tests/scale/determinism.json

Every model is trained in a process of its own with equal settings (preset `tiny`), once as the reference (one thread,
one process) and once per variation. Scores, per-event counts and weights are compared with the reference's. All models
come under the first variation before the second begins; what the JSON file holds already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.contracts.safetensors_io import read_safetensors
from benchmark.hardware.environment import processor

STEPS = 100
SLOW = {"ptv3": 20, "sparse_uresnet": 20, "polarmae": 20, "transformer": 50, "conv_unet": 20}  # fewer steps
MODELS = {
    "lartpc-segmentation": (
        "deep_sets", "pointnet", "pointnet2", "gnn", "ptv3", "set_transformer", "sparse_uresnet", "transformer",
        "polarmae",
    ),
    "pion-classification": ("cnn", "dnn"),
    "lif-segmentation": ("conv_unet",),
}  # fmt: skip
DATA = {  # small sets of simulated events
    "lartpc-segmentation": ("data.train=200", "data.val=20", "data.test=60"),
    "pion-classification": (
        "data.pions_train=400",
        "data.pions_val=40",
        "data.pions_test=200",
        "data.mixtures_train=10",
        "data.mixtures_val=10",
        "data.mixtures_test=10",
    ),
    "lif-segmentation": ("data.scans_train=2", "data.scans_val=1", "data.scans_test=1"),
}


@dataclass(frozen=True)
class Variation:
    """One change of how a run is carried out; its results are compared with the reference's."""

    name: str
    threads: int = 1
    processes: int = 1
    new_cache: bool = False  # events are simulated and packed again, in another folder


VARIATIONS = (
    Variation("the same command again"),
    Variation("events simulated and packed again", new_cache=True),
    Variation("two threads", threads=2),
    Variation("two processes", processes=2),
)


@dataclass(frozen=True)
class Trained:
    """What one training left behind."""

    score: float
    scores_per_event: str  # packed counts
    weights: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """One variation of one model, against the reference."""

    task: str
    model: str
    steps: int
    variation: str
    reference: float  # score of the reference
    score: float
    equal_counts: bool  # per-event counts are equal
    equal_weights: bool  # weights are equal bit by bit
    weights: float  # largest difference of a weight, relative to the largest weight of its tensor


def main() -> None:
    """Train every model under every variation and write the differences."""
    arguments = _arguments()
    results = json.loads(arguments.out.read_text(encoding="utf-8"))["results"] if arguments.out.is_file() else []
    done = {(r["model"], r["variation"]) for r in results}
    with tempfile.TemporaryDirectory() as folder:
        references: dict[str, Trained] = {}
        for variation in VARIATIONS:
            for task, model in _selected(arguments.models):
                if (model, variation.name) in done:
                    continue
                if model not in references:
                    references[model] = _train(task, model, Variation("reference"), Path(folder))
                result = _train(task, model, variation, Path(folder))
                results.append(asdict(_difference(task, model, variation, references[model], result)))
                print(json.dumps(results[-1]), flush=True)
                _write(arguments.out, results)


def _write(path: Path, results: list[dict[str, Any]]) -> None:
    """The results, by model and variation."""
    models, variations = [name for _, name in _selected(None)], [v.name for v in VARIATIONS]
    ordered = sorted(results, key=lambda r: (models.index(r["model"]), variations.index(r["variation"])))
    machine = {"cpu": processor(), "python": platform.python_version()}
    path.write_text(json.dumps({"machine": machine, "results": ordered}, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results; what it lacks is added")
    parser.add_argument("--models", nargs="*", help="only these models")
    return parser.parse_args()


def _selected(names: Sequence[str] | None) -> list[tuple[str, str]]:
    return [(task, model) for task, models in MODELS.items() for model in models if not names or model in names]


def _difference(task: str, model: str, variation: Variation, reference: Trained, result: Trained) -> Difference:
    changes = [_relative(a, result.weights[name]) for name, a in reference.weights.items()]
    return Difference(
        task, model, SLOW.get(model, STEPS), variation.name, reference.score, result.score,
        equal_counts=reference.scores_per_event == result.scores_per_event,
        equal_weights=all(np.array_equal(a, result.weights[name]) for name, a in reference.weights.items()),
        weights=max(changes, default=0.0),
    )  # fmt: skip


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    if not a.size or a.dtype.kind != "f":
        return 0.0
    scale = float(np.abs(a).max()) or 1.0
    return float(np.abs(a.astype(float) - b.astype(float)).max()) / scale


def _train(task: str, model: str, variation: Variation, folder: Path) -> Trained:
    """Run the command in a new folder. Raises CalledProcessError where it fails."""
    work = Path(tempfile.mkdtemp(dir=folder))
    cache = work / "cache" if variation.new_cache else folder / "cache"
    settings = [f"train.steps={SLOW.get(model, STEPS)}", *DATA[task]]
    if model == "polarmae":
        settings += ["pretrain.steps=30", "pretrain.events=100"]
    command = [
        "benchmark", "run", "--model", model, "--task", task, "--labels", "50", "--preset", "tiny", "--threads",
        str(variation.threads), "--beside", "none", "--json", "--records", str(work / "records"),
        *(part for setting in settings for part in ("--set", setting)),
    ]  # fmt: skip
    launcher = ["-m"] if variation.processes == 1 else ["-m", "torch.distributed.run", "--standalone", "-m"]
    if variation.processes > 1:
        launcher[3:3] = ["--nproc-per-node", str(variation.processes)]
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ, "PYTHONPATH": root, "PARTICLEBENCH_CACHE": str(cache), "OMP_NUM_THREADS": str(variation.threads),
    }  # fmt: skip
    process = subprocess.run(
        [sys.executable, *launcher, *command], cwd=work, env=environment, stdout=subprocess.PIPE, check=True, text=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    record: dict[str, Any] = json.loads(process.stdout)
    (weights,) = (work / "runs").rglob("model.safetensors")
    trained = Trained(
        record["metrics"]["overall"][record["task"]["primary_metric"]]["value"],
        record["per_event"]["data"],
        {name: np.asarray(tensor) for name, tensor in read_safetensors(weights)[0].items()},
    )
    shutil.rmtree(work)
    return trained


if __name__ == "__main__":
    main()
