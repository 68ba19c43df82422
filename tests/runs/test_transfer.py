"""A recorded run can be scored on other events, and a model that has only seen simulated ones works on real ones."""

import dataclasses

import numpy as np
import pytest

from benchmark.errors import CheckpointError, ConfigError
from benchmark.records.counts import unpack_counts
from benchmark.records.store import read_record, read_records, record_path, write_record
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.tables import run_table
from benchmark.runs.execution import Execution
from benchmark.runs.transfer import Target, transfer
from builders.paths import ROOT
from builders.synthetic import execute, make_data, request


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder, data, outcome) of one tiny run."""
    root = tmp_path_factory.mktemp("transfer")
    data = make_data(root)
    return root, data, execute(data, root, request("pointnet"))


def path_of(root, outcome):
    return record_path(root / "records", outcome.record)


def below(root, data):
    return Execution(data=data, records=root / "transferred", runs=root / "runs")


def test_on_its_own_test_split_a_run_scores_as_it_did(ran, tmp_path):
    root, data, outcome = ran
    again = transfer(path_of(root, outcome), Target("pilarnet-m", figure=tmp_path / "events.png"), below(root, data))
    np.testing.assert_array_equal(unpack_counts(again.per_event), unpack_counts(outcome.record.per_event))
    assert again.metrics == outcome.record.metrics
    assert again.fingerprint != outcome.record.fingerprint
    assert (tmp_path / "events.png").read_bytes().startswith(b"\x89PNG")


def test_the_new_record_says_where_the_model_was_trained(ran):
    root, data, outcome = ran
    transfer(path_of(root, outcome), Target("pilarnet-m", "val"), below(root, data))
    records, problems = read_records(root / "transferred")
    assert not problems
    found = next(r for r in records if r.events["test"] == 2)
    assert found.training["trained_on"] == outcome.record.dataset
    assert found.training["run"] == outcome.record.fingerprint
    assert (outcome.record.split, found.split) == ("test", "val")


def test_a_transfer_of_a_transfer_names_the_first_training(ran, tmp_path):
    root, data, outcome = ran
    once = transfer(path_of(root, outcome), Target("pilarnet-m", "val"), below(root, data))
    weights = next((root / "runs").rglob("model.safetensors"))
    again = transfer(record_path(root / "transferred", once), Target("pilarnet-m"),
                     Execution(data=data, records=tmp_path, runs=tmp_path), weights)  # fmt: skip
    assert again.training["run"] == outcome.record.fingerprint
    assert again.training["trained_on"] == outcome.record.dataset
    assert again.training["trained_in"] == outcome.record.environment


def test_a_score_on_training_events_stays_out_of_the_table(ran):
    root, data, outcome = ran
    trained = transfer(path_of(root, outcome), Target("pilarnet-m", "train"), below(root, data))
    assert trained.split == "train" and trained.events["test"] > outcome.record.events["test"]
    (board,) = leaderboards([outcome.record, trained])
    assert board.averages[0].runs == (outcome.record,)
    assert f"{trained.events['test']} train events of pilarnet-m" in run_table(trained).title


def test_missing_weights_and_failed_runs_are_told(ran, tmp_path):
    root, data, outcome = ran
    with pytest.raises(CheckpointError, match="--weights"):
        transfer(path_of(root, outcome), Target("pilarnet-m"), Execution(data=data, runs=tmp_path))
    with pytest.raises(ConfigError, match="failed run"):
        failed = write_record(tmp_path, dataclasses.replace(outcome.record, status="failed"))
        transfer(failed, Target("pilarnet-m"), below(root, data))


def test_weights_of_another_run_are_refused(ran):
    root, data, outcome = ran
    other = execute(data, root, request("pointnet", seed=1))
    weights = root / "runs" / other.record.run_name / "model.safetensors"
    own, theirs = outcome.record.fingerprint[:12], other.record.fingerprint[:12]
    with pytest.raises(CheckpointError, match=rf"are of the run {theirs}. Those of {own}.*evaluate --checkpoint"):
        transfer(path_of(root, outcome), Target("pilarnet-m"), below(root, data), weights)
    transfer(path_of(root, other), Target("pilarnet-m"), below(root, data), weights)


RECORD = ROOT / "leaderboards/records/lartpc-segmentation/lartpc-sim/polarmae-all-d0-s0-bd383af92250.json"
WEIGHTS = ROOT / "leaderboards/weights/polarmae-all-d0-s0-bd383af92250.safetensors"


def test_a_model_that_saw_only_simulated_events_segments_real_ones(shared_dir, tmp_path):
    """The weights in the project were trained on `lartpc-sim` alone; the two real PILArNet-M events are Geant4's."""
    record = read_record(RECORD)
    assert record.dataset["name"] == "lartpc-sim"
    for schema in ("h5_v1", "h5_v2"):
        execution = Execution(data=shared_dir / "reference/lartpc/real_events" / schema, records=tmp_path)
        scored = transfer(RECORD, Target("pilarnet-m"), execution, weights=WEIGHTS)
        assert scored.events["test"] == 2
        for name in ("track", "shower"):
            assert scored.metrics["per_class"][name]["f1"]["value"] >= 0.90


def test_the_weights_in_the_project_are_those_of_their_record():
    from benchmark.contracts.safetensors_io import read_safetensors

    _, metadata = read_safetensors(WEIGHTS)
    assert metadata["fingerprint"] == read_record(RECORD).fingerprint
