"""Whole runs on tiny events: what is recorded, what is repeated, what a model may see, what happens when it fails."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest

from benchmark import registry, tasks
from benchmark.data.budget import subset
from benchmark.data.preprocess import Preprocess
from benchmark.data.stream import event_set, training_batch
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError, DataError
from benchmark.metrics.few_events import MIN_EVENTS
from benchmark.paths import PROGRAM
from benchmark.records import revisions
from benchmark.records.counts import unpack_counts
from benchmark.records.store import find_record, read_records, write_record
from benchmark.runs.execution import Execution
from benchmark.runs.prepared import identify
from benchmark.runs.weights import run_folder
from benchmark.verification.rerun import request_of
from builders.synthetic import N_TEST, N_TRAIN, SPY, execute, request


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("pointnet")


@pytest.fixture(scope="module")
def pointnet(data, root):
    return execute(data, root, request())


@pytest.fixture
def spy(tmp_path, monkeypatch):
    (tmp_path / "spy.py").write_text(SPY)
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "spy.py")


def test_the_record_says_everything_about_the_run(pointnet):
    record = pointnet.record
    assert record.status == "finished"
    assert record.error is None
    assert record.created.endswith("+00:00")
    assert record.command[:6] == [*PROGRAM, "run", "--model", "pointnet"]
    assert record.config["train"]["steps"] == 4
    assert record.config["preprocess"]["min_points"] == 0
    assert record.config["preprocess"]["energy_min_mev"] == 0.13
    assert record.task["name"] == "lartpc-segmentation"
    assert record.task["version"] == 1
    assert record.dataset["revision"].startswith("v2-")
    assert record.dataset["files"]
    assert all(len(digest) >= 40 for digest in record.dataset["files"].values())
    assert record.events["labelled"] == 6
    assert record.events["unlabelled"] == 0
    assert record.events["selection"] == 0
    assert record.events["test"] == N_TEST
    assert len(record.subset_sha256) == len(record.fingerprint) == 64
    assert record.training["steps"] == record.training["n_steps"] == 4
    assert record.training["last_loss"] > 0
    assert record.training["grad_norm"] > 0
    assert record.resources["n_parameters"] > 100
    assert all(
        record.resources[name] > 0 for name in ("wall_s", "train_s", "predict_events_per_s", "peak_memory_bytes")
    )
    parts = sum(record.resources[name] for name in ("prepare_s", "train_s", "score_s"))
    assert parts <= record.resources["wall_s"] + 0.02
    assert record.run_s == record.resources["train_s"] + record.resources["score_s"]
    assert {"device", "device_name", "precision", "threads", "versions", "commit", "dirty"} <= set(record.environment)
    assert record.environment["threads"] == 1


def test_the_record_holds_the_course_of_training(pointnet, data):
    history = pointnet.record.training["history"]
    assert history["step"] == [1, 2, 3, 4]
    assert history["loss"][0] == pytest.approx(pointnet.record.training["first_loss"])
    assert all(norm > 0 for norm in history["grad_norm"])
    counts = np.array(history["counts"])
    assert counts.shape == (4, 4, 4)
    config = pointnet.record.config
    train = event_set(registry.dataset_spec("pilarnet-m").open(*opened(data)), "train", *task_of(config))
    events = train.chosen(subset(train.event_ids, 6, 0))
    for step in range(4):
        seen = training_batch(events, step, config["train"]["batch_size"], 0, "finetune", rotation="event")
        np.testing.assert_array_equal(counts[step].sum(axis=1), np.bincount(seen.target, minlength=4))


def opened(data):
    return registry.dataset_spec("pilarnet-m").config(), data


def task_of(config):
    return tasks.task("lartpc-segmentation"), Preprocess(min_points=config["preprocess"]["min_points"])


def test_the_record_on_disk_is_the_one_that_was_returned(pointnet, root):
    assert asdict(find_record(root / "records", [pointnet.record.fingerprint])) == json.loads(
        json.dumps(asdict(pointnet.record))
    )


def test_every_test_event_is_counted_once(pointnet, data):
    record = pointnet.record
    counts = unpack_counts(record.per_event)
    assert counts.shape == (N_TEST, 4, 4)
    spec = registry.dataset_spec("pilarnet-m")
    source = spec.open(spec.config(), data).events("test")
    events = [source[i] for i in range(len(source))]
    kept = [(e.energy > np.float32(0.13)) & (e.labels["semantic"] != 4) for e in events]
    assert counts.sum(axis=(1, 2)).tolist() == [k.sum() for k in kept]
    truth = [np.bincount(e.labels["semantic"][k], minlength=4) for e, k in zip(events, kept, strict=True)]
    np.testing.assert_array_equal(counts.sum(axis=2), truth)
    np.testing.assert_array_equal(record.metrics["confusion"], counts.sum(axis=0))


def test_metrics_follow_from_the_counts_and_few_events_have_no_interval(pointnet):
    overall = pointnet.record.metrics["overall"]
    counts = unpack_counts(pointnet.record.per_event).sum(axis=0)
    assert overall["accuracy"]["value"] == pytest.approx(np.trace(counts) / counts.sum())
    assert pointnet.record.metrics["n_independent"] == len(unpack_counts(pointnet.record.per_event)) < MIN_EVENTS
    assert all(score["low"] is score["high"] is None for score in overall.values())


def test_the_budget_is_the_hashed_subset_and_shared_by_every_model(pointnet, data, root):
    spec = registry.dataset_spec("pilarnet-m")
    ids = spec.open(spec.config(), data).events("train").event_ids
    assert len(ids) == N_TRAIN
    assert pointnet.record.subset_sha256 == subset(ids, 6, 0).sha256
    for model in ("polarmae", "majority"):
        assert execute(data, root, request(model)).record.subset_sha256 == pointnet.record.subset_sha256


def test_another_draw_takes_other_events(pointnet, data, root):
    other = execute(data, root, request("majority", draw=1)).record
    assert other.subset_sha256 != pointnet.record.subset_sha256
    assert other.events["labelled"] == 6


def test_a_recorded_run_is_not_run_again(pointnet, data, root):
    again = execute(data, root, request())
    assert not again.fresh
    assert again.record.created == pointnet.record.created


def test_the_same_command_gives_the_same_metrics_when_forced(pointnet, data, root):
    again = execute(data, root, request(), force=True)
    assert again.fresh
    assert again.record.training["resumed_at"] == 0  # trained anew, not merely scored anew
    assert again.record.metrics == pointnet.record.metrics
    assert again.record.per_event == pointnet.record.per_event
    assert again.record.training == pointnet.record.training


def test_another_seed_gives_another_model_on_the_same_events(pointnet, data, root):
    other = execute(data, root, request(seed=1)).record
    assert other.subset_sha256 == pointnet.record.subset_sha256
    assert other.training["first_loss"] != pointnet.record.training["first_loss"]


def test_a_finished_run_leaves_its_weights_and_logs_but_no_training_states(pointnet, root):
    folder = run_folder(root / "runs", pointnet.record)
    assert (folder / "model.safetensors").exists()
    assert len((folder / "csv" / "from-step-0" / "metrics.csv").read_text().splitlines()) == 1 + 4
    assert list((folder / "tensorboard").glob("events*"))
    assert not list(folder.glob("*.ckpt"))


def test_the_model_never_sees_a_test_label_and_reads_the_test_split_once(spy, data, tmp_path):
    record = execute(data, tmp_path, request(spy)).record
    assert record.status == "finished"
    seen = (tmp_path / "spy.txt").read_text().splitlines()
    predicted = [line for line in seen if line.startswith("predict")]
    assert len(predicted) == len({line.split()[1] for line in predicted}) == N_TEST
    assert len([line for line in seen if line.startswith("fit")]) == 6


def test_points_of_dropped_classes_reach_no_model(spy, data, tmp_path):
    four = execute(data, tmp_path, request(spy)).record
    seen = (tmp_path / "spy.txt").read_text().splitlines()
    n_four = sum(int(line.split()[2]) for line in seen if line.startswith("predict"))
    assert {line for line in seen if line.startswith("label")} == {f"label {c}" for c in range(4)}
    five = execute(data, tmp_path, request(spy, task="lartpc-segmentation-5")).record
    seen = (tmp_path / "spy.txt").read_text().splitlines()
    n_five = sum(int(line.split()[2]) for line in seen if line.startswith("predict"))
    assert {line for line in seen if line.startswith("label")} == {f"label {c}" for c in range(5)}
    assert n_four == unpack_counts(four.per_event).sum()
    assert n_five == unpack_counts(five.per_event).sum()
    assert n_four < n_five
    assert n_five - n_four == unpack_counts(five.per_event)[:, 4].sum()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("flat", r"scores of shape \(\d+,\)\. \(\d+, 4\) was expected"),
        ("narrow", r"scores of shape \(\d+, 3\)\. \(\d+, 4\) was expected"),
        ("nan", r"scores that are not finite for \d+ of \d+ rows \(first in event .*expected"),
    ],
)
def test_an_answer_that_cannot_be_scored_is_told_and_recorded_as_a_failure(spy, data, tmp_path, answer, message):
    asked = request(spy, f"answer={answer}")
    with pytest.raises(BenchmarkError, match=message):
        execute(data, tmp_path, asked)
    (failed,) = read_records(tmp_path / "records")[0]
    assert failed.status == "failed"
    assert failed.error.startswith("BenchmarkError: The model returned scores")
    assert failed.metrics == {}
    assert failed.subset_sha256


def test_a_failed_run_does_not_count_as_recorded(spy, data, tmp_path):
    asked = request(spy, "answer=error")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            execute(data, tmp_path, asked)
    (failed,) = read_records(tmp_path / "records")[0]
    assert failed.error == "ZeroDivisionError: a fault of the model's own"


def test_a_failure_is_told_even_where_it_cannot_be_recorded(spy, data, tmp_path):
    (tmp_path / "records").write_text("a file, not a folder")
    with pytest.raises(ZeroDivisionError):
        execute(data, tmp_path, request(spy, "answer=error"))


def test_training_that_diverges_is_told_in_one_sentence(data, tmp_path):
    sentence = r"The training loss is nan at step \d+, on the events train/.*; there is no state before it"
    with pytest.raises(BenchmarkError, match=sentence):
        execute(data, tmp_path, request("pointnet", "optim.lr=1e30", "optim.clip_norm=0", "train.steps=12"))


def test_pre_training_is_made_once_and_its_weights_give_what_fresh_ones_gave(data, tmp_path, own_cache):
    from safetensors.numpy import load_file

    def written(record):
        return load_file(run_folder(tmp_path / "runs", record) / "model.safetensors")

    fresh = execute(data, tmp_path, request("polarmae")).record
    fresh_weights = written(fresh)
    assert fresh.events["unlabelled"] == 8
    (folder,) = (own_cache / "pretrained").iterdir()
    assert not list(folder.glob("*.ckpt"))
    weights = folder / "weights.safetensors"
    made = weights.stat().st_mtime_ns
    cached = execute(data, tmp_path, request("polarmae"), force=True).record
    assert cached.metrics == fresh.metrics
    assert cached.per_event == fresh.per_event
    cached_weights = written(cached)
    assert [k for k in fresh_weights if not np.array_equal(fresh_weights[k], cached_weights[k])] == []  # decoder too
    other = execute(data, tmp_path, request("polarmae", labels="3")).record
    assert weights.stat().st_mtime_ns == made
    assert other.training["pretraining"] == fresh.training["pretraining"]
    assert len(list((own_cache / "pretrained").iterdir())) == 1
    weights.write_bytes(weights.read_bytes()[:-100])  # damaged weights are made again
    assert execute(data, tmp_path, request("polarmae"), force=True).record.metrics == fresh.metrics
    assert weights.stat().st_mtime_ns != made


def test_given_weights_replace_pre_training(data, tmp_path, own_cache):
    made = execute(data, tmp_path, request("polarmae")).record
    (folder,) = (own_cache / "pretrained").iterdir()
    given = execute(data, tmp_path, request("polarmae", checkpoint=str(folder / "weights.safetensors"))).record
    assert given.metrics == made.metrics
    assert given.training["pretraining"]["checkpoint_sha256"] == made.training["pretraining"]["weights_sha256"]
    assert given.events["unlabelled"] == 0


def test_modes_train_what_they_say(data, tmp_path):
    from safetensors.numpy import load_file

    weights = {}
    for mode in ("scratch", "fft", "frozen"):
        record = execute(data, tmp_path, request("polarmae", mode=mode, assignments=mode_settings(mode))).record
        assert (record.training["pretraining"] is None) == (mode == "scratch")
        weights[mode] = load_file(run_folder(tmp_path / "runs", record) / "model.safetensors")
    shared = set(weights["fft"]) & set(weights["frozen"])
    assert any(not np.array_equal(weights["fft"][k], weights["frozen"][k]) for k in shared)


def mode_settings(mode):
    settings = ("train.steps=2", "preprocess.min_points=0")
    return settings if mode == "scratch" else (*settings, "pretrain.steps=3", "pretrain.events=8")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x10\x00\x00\x00\x00\x00\x00\x00{"])
def test_a_damaged_checkpoint_is_refused(data, tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"could not be read.*expected"):
        execute(data, tmp_path, request("polarmae", checkpoint=str(tmp_path / "weights.safetensors")))


def test_a_checkpoint_of_another_model_is_refused(pointnet, data, root, tmp_path):
    weights = run_folder(root / "runs", pointnet.record) / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"checkpoint of pointnet.*expected"):
        execute(data, tmp_path, request("polarmae", checkpoint=str(weights)))


def test_a_checkpoint_of_other_sizes_is_refused(data, tmp_path, own_cache):
    execute(data, tmp_path, request("polarmae"))
    (folder,) = (own_cache / "pretrained").iterdir()
    asked = request("polarmae", "model.width=48", checkpoint=str(folder / "weights.safetensors"))
    with pytest.raises(CheckpointError, match=r"made with model.width=32 and not 48.*expected.*--preset tiny"):
        execute(data, tmp_path, asked)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_a_time_limit_that_is_none_is_refused(data, tmp_path, minutes):
    with pytest.raises(ConfigError, match=r"--max-minutes .* is not possible.*expected"):
        execute(data, tmp_path, request(), max_minutes=minutes)


def test_more_labels_than_there_are_events_are_refused(data, tmp_path):
    with pytest.raises(DataError, match=r"--labels 1000 is more than the 21 usable events"):
        execute(data, tmp_path, request(labels="1000"))


def test_cuts_that_leave_nothing_are_told(data, tmp_path):
    with pytest.raises(DataError, match=r"No event of the train split.*below_min_points.*--set preprocess.min_points"):
        execute(data, tmp_path, request("pointnet", "preprocess.min_points=100000"))


def test_events_in_two_splits_are_refused(data, tmp_path, monkeypatch):
    from benchmark.runs import prepared as module

    original = module.event_set
    monkeypatch.setattr(module, "event_set", lambda d, split, t, c: original(d, "train", t, c))
    with pytest.raises(DataError, match=r"21 events are in both the training and the test split.*Disjoint"):
        execute(data, tmp_path, request())


def test_a_model_that_cannot_run_here_says_why(spy, data, tmp_path):
    path = tmp_path / "spy.py"
    path.write_text(SPY.replace("presets=PRESETS)", 'presets=PRESETS, skip=lambda task, device: "it needs a GPU")'))
    with pytest.raises(BenchmarkError, match=r"spy cannot run here: it needs a GPU"):
        execute(data, tmp_path, request(str(path)))


def test_a_run_under_an_earlier_name_of_its_data_is_found(data, tmp_path, monkeypatch):
    """Such a record stands in the table of the current name, so that the run must not be made again."""
    from benchmark.runs.sweep import Sweep, plan, to_run

    asked = request("majority")
    made = execute(data, tmp_path, asked).record
    revision = made.dataset["revision"]
    start = "-".join(revision.split("-")[:2])
    monkeypatch.setattr(revisions, "DEFAULT_REVISIONS", {"pilarnet-m": (start, "v2-earlier")})
    earlier = replace(made, fingerprint=identify(asked, "cpu").fingerprint(f"v2-earlier{revision[len(start) :]}"))
    assert earlier.fingerprint != made.fingerprint
    shutil.rmtree(tmp_path / "records")
    write_record(tmp_path / "records", earlier)
    assert not execute(data, tmp_path, asked).fresh
    execution = Execution("cpu", 1, data, tmp_path / "records", tmp_path / "runs")
    sweep = Sweep(
        ("majority",), (asked.labels,), dataset=asked.dataset, preset=asked.preset, settings=asked.assignments
    )
    assert to_run(plan(sweep, execution)) == []
    monkeypatch.setattr(revisions, "DEFAULT_REVISIONS", {})
    assert execute(data, tmp_path, asked).fresh


def test_a_trial_is_another_run_of_the_same_training(data, root, pointnet):
    trial = execute(data, root, request(split="val")).record
    assert trial.fingerprint != pointnet.record.fingerprint and "split" not in pointnet.record.config
    assert trial.subset_sha256 == pointnet.record.subset_sha256
    assert trial.training["last_loss"] == pointnet.record.training["last_loss"]
    assert request_of(trial).split == "val"
    with pytest.raises(ConfigError, match="cannot be scored by a run"):
        execute(data, root, request(split="train"))
