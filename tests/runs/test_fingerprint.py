"""Which committed results are of today's code: those that a run would find and not repeat."""

import json

import pytest

from benchmark.io import sha256_text
from benchmark.records.store import read_record
from benchmark.runs.fingerprint import model_code
from builders.paths import ROOT

# Records of each model whose fingerprint holds its files as they are. A change of any of these files, or of a private
# one that it imports, makes its results those of other code: they are then to be computed again, and this table with
# them.
OF_TODAY = {
    "conv_unet": 3, "dnn": 3, "em_scale": 2, "energy_threshold": 2, "inpainting": 3, "intensity_threshold": 3,
    "local_weighting": 2, "majority": 9, "p_em": 1, "particle_flow": 3, "random_guess": 3,
}  # fmt: skip


def named(record):
    """As `benchmark.runs.fingerprint.fingerprint`, from what the record says of its run."""
    settings = {key: value for key, value in record.config.items() if key != "checkpoint"}
    parts = {
        "config": settings, "data": record.dataset["revision"], "code": model_code(record.model),
        "device": record.environment["device"], "precision": record.environment["precision"],
    }  # fmt: skip
    return sha256_text(json.dumps(parts, sort_keys=True))


@pytest.mark.parametrize("model", sorted(OF_TODAY))
def test_results_of_a_model_stay_those_of_its_code(model):
    folders = (ROOT / "leaderboards" / name for name in ("records", "small"))
    paths = sorted(path for folder in folders for path in folder.rglob(f"{model}-*.json"))
    equal = [r for r in map(read_record, paths) if named(r) == r.fingerprint]
    assert len(equal) == OF_TODAY[model]
