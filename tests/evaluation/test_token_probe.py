"""The token probe equals the reference on its stored features, scikit-learn on ours, and depends on no batch."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.decomposition import PCA
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from benchmark import registry, tasks
from benchmark.cli import main
from benchmark.contracts import Inputs, TokenFeatures, TokenModel
from benchmark.data.budget import subset
from benchmark.data.preprocess import Preprocess
from benchmark.data.stream import event_set
from benchmark.datasets._pilarnet import FRAME
from benchmark.errors import BenchmarkError, ConfigError, DataError
from benchmark.evaluation.token_probe import first_tokens, fit_probe, probe, probe_score, sampled_tokens, token_labels
from benchmark.metrics.multilabel import OVERALL, PER_CLASS, extra, multilabel_counts, scores_from_counts
from benchmark.records.counts import unpack_counts
from benchmark.records.store import write_record
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import resolve
from benchmark.runs.transfer import Target, transfer
from benchmark.seeding import generator
from benchmark.training.config import ProbeConfig
from builders.pilarnet_files import make_events, write_folder
from builders.synthetic import execute, request

TASK = tasks.task("lartpc-token-probe")
CLEAN = ProbeConfig(components=4)


class Runs(TokenModel):
    """Tokens are runs of `size` points, a step apart: they overlap, and some points are in none.

    Features are a fixed map of the run's mean position and energy: the same bits in any batch.
    """

    def __init__(self, size=12, step=10, broken=False):
        super().__init__(TASK)
        self.size, self.step, self.broken = size, step, broken
        self.map = torch.nn.Linear(4, 6)
        self.seen = []

    def backbone(self):
        return [self.map]

    @torch.inference_mode()
    def token_features(self, batch):
        assert batch.target is None, "an encoder was shown labels"
        lengths, centres, token, point = [], [], [], []
        for begin, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
            starts = range(begin, max(begin + 1, end - self.size), self.step)
            lengths.append(len(starts))
            for start in starts:
                members = torch.arange(start, min(start + self.size, end))
                token += [len(centres)] * len(members)
                point.append(members)
                centres.append(batch.coords[members].mean(0))
        self.seen += batch.event_ids
        where = torch.stack(centres)
        index, rows = torch.tensor(token), torch.cat(point)
        energy = torch.zeros(len(where)).index_add_(0, index, batch.energy[rows])
        raw = torch.cat([(where - 384) / 100, energy[:, None]], 1).double()
        features = (raw @ self.map.weight.double().T).round(decimals=6).float()  # no trace of the matrix's shape
        return TokenFeatures(tuple(lengths), where, features * (float("nan") if self.broken else 1), index, rows)

    def attention(self, batch, layer):
        raise NotImplementedError

    def reconstruct(self, batch, seed=0):
        raise NotImplementedError


def runs(**settings):
    torch.manual_seed(3)
    return Runs(**settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(8)
    events = {split: make_events(rng, n) for split, n in (("train", 21), ("val", 9), ("test", 11))}
    return write_folder(tmp_path_factory.mktemp("probe") / "pilarnet", events)


@pytest.fixture(scope="module")
def sets(folder):
    spec = registry.dataset_spec("pilarnet-m")
    dataset = spec.open(spec.config(), folder)
    return {s: event_set(dataset, s, TASK, Preprocess(min_points=0)) for s in ("train", "val", "test")}


def score(model, sets, config=CLEAN, batch_size=3, draw=0, scored="test"):
    return probe(model, sets["train"], sets[scored], config, batch_size, draw, generator("test"))


# --- the reference ---


def test_the_reference_case_is_reproduced_from_its_features(shared_dir):
    """golden/svm_case.npz: tolerances of its README, 0.03 of subset accuracy, 0.02 of F1; and its exact solver."""
    case = np.load(shared_dir / "reference/polarmae/golden/svm_case.npz")
    fitted = fit_probe(case["x_train"], case["y_train"].astype(bool), ProbeConfig(protocol="published"))
    assert fitted.converged
    for split in ("train", "val"):
        truth, predicted = case[f"y_{split}"].astype(bool), fitted.predict(case[f"x_{split}"])
        scores = scores_from_counts(multilabel_counts(predicted, truth, np.array([0, len(truth)]))[0])
        for name, f1, accuracy in (("", 0.02, 0.03), ("fullsvd_", 1e-6, 1e-9)):
            np.testing.assert_allclose(scores["f1"], case[f"{name}{split}_f1"], atol=f1)
            np.testing.assert_allclose(scores["subset_accuracy"], case[f"{name}{split}_subset_acc"], atol=accuracy)
    ratio = fitted.pca.explained_variance_ratio_
    np.testing.assert_allclose(ratio, case["pca_explained_variance_ratio"], atol=1e-3)


# --- scores of several classes at once ---


@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((200, 4)) < [0.5, 0.6, 0.1, 0.05]
    predicted = truth ^ (rng.random((200, 4)) < 0.2)
    offsets = np.array([0, 0, 3, 90, 200])
    counts = multilabel_counts(predicted, truth, offsets)
    ours = scores_from_counts(counts.sum(0))
    np.testing.assert_array_equal(
        counts.sum(0)[:4, [3, 1, 2, 0]].reshape(4, 2, 2), sk.multilabel_confusion_matrix(truth, predicted)
    )
    for name, theirs in zip(PER_CLASS, sk.precision_recall_fscore_support(truth, predicted), strict=False):
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-12)
        np.testing.assert_allclose(ours[f"macro_{name}"], theirs.mean(), rtol=1e-12)
    np.testing.assert_allclose(ours["subset_accuracy"], sk.accuracy_score(truth, predicted), rtol=1e-12)


def test_counts_equal_a_plain_loop():
    rng = np.random.default_rng(1)
    truth, predicted, offsets = rng.random((30, 3)) < 0.4, rng.random((30, 3)) < 0.4, np.array([0, 11, 11, 30])
    expected = np.zeros((3, 4, 4), int)
    for event in range(3):
        for row in range(offsets[event], offsets[event + 1]):
            for c in range(3):
                expected[event, c, {(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}[predicted[row, c], truth[row, c]]] += 1
            expected[event, 3, 0 if list(truth[row]) == list(predicted[row]) else 1] += 1
    np.testing.assert_array_equal(multilabel_counts(predicted, truth, offsets), expected)


def test_a_class_that_never_occurs_has_no_score_and_one_that_is_missed_scores_zero():
    truth, predicted = np.array([[1, 1, 0], [0, 1, 0]], bool), np.array([[1, 0, 0], [0, 0, 0]], bool)
    scores = scores_from_counts(multilabel_counts(predicted, truth, np.array([0, 2]))[0])
    np.testing.assert_array_equal(scores["f1"], [1, 0, np.nan])
    assert scores["macro_f1"] == 0.5
    values = extra(multilabel_counts(predicted, truth, np.array([0, 2])), ("a", "b", "c"))
    assert values["support"] == {"a": 1, "b": 2, "c": 0}
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_shapes_that_differ_are_refused():
    with pytest.raises(BenchmarkError, match="3 tokens of events"):
        multilabel_counts(np.zeros((2, 4)), np.zeros((2, 4)), np.array([0, 3]))


# --- labels and tokens ---


def test_a_token_holds_the_classes_of_its_points():
    target = np.array([0, 1, 1, -1, 3])
    token, point = np.array([0, 0, 1, 1, 3, 3]), np.array([0, 1, 1, 2, 3, 4])
    labels = token_labels(token, point, target, 4, 4)
    np.testing.assert_array_equal(labels, np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool))


def test_the_first_tokens_are_those_of_the_first_events_in_order(sets):
    model = runs()
    tokens = first_tokens(model, sets["train"], 50)
    assert len(tokens) == 50
    assert (np.diff(tokens.event) >= 0).all() and tokens.event[0] == 0
    assert tuple(model.seen) == sets["train"].event_ids[: len(model.seen)]
    assert len(model.seen) < len(sets["train"])


def test_few_tokens_are_all_taken_and_many_are_sampled_evenly(sets):
    everything = sampled_tokens(runs(), sets["train"], 4, 10**6, 0)
    again = first_tokens(runs(), sets["train"], 10**6)
    np.testing.assert_array_equal(everything.features, again.features)
    np.testing.assert_array_equal(everything.event, again.event)
    some = sampled_tokens(runs(), sets["train"], 4, len(everything) // 2, 0)
    assert len(some) == len(everything) // 2
    known = {row.tobytes() for row in everything.features}
    assert {row.tobytes() for row in some.features} <= known
    shares = np.bincount(some.event, minlength=21) / np.bincount(everything.event)
    assert shares.min() > 0.2 and shares.max() < 0.8
    other = sampled_tokens(runs(), sets["train"], 4, len(everything) // 2, 1)
    assert not np.array_equal(other.features, some.features)


# --- the clean protocol ---


def test_the_clean_score_equals_scikit_learn_on_all_tokens(sets):
    train, test = (first_tokens(runs(), sets[s], 10**6) for s in ("train", "test"))
    svm = OneVsRestClassifier(LinearSVC(C=0.005, class_weight="balanced", random_state=0))
    pipeline = make_pipeline(StandardScaler(), PCA(4, svd_solver="full"), svm)
    pipeline.fit(train.features.astype(float), train.labels)
    predicted = pipeline.predict(test.features.astype(float))
    found = score(runs(), sets)
    f1 = sk.f1_score(test.labels, predicted, average=None, zero_division=0)
    np.testing.assert_allclose([found.metrics["per_class"][c]["f1"]["value"] for c in TASK.classes], f1, rtol=1e-12)
    assert found.metrics["overall"]["subset_accuracy"]["value"] == sk.accuracy_score(test.labels, predicted)
    assert found.metrics["n_tokens"] == len(test) == found.counts[:, -1].sum()
    for name in OVERALL:
        entry = found.metrics["overall"][name]
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert found.details["n_tokens"] == len(train) and found.details["n_components"] == 4


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batch_size=st.integers(1, 12), max_tokens=st.sampled_from([40, 150, 10**6]), seed=st.integers(0, 9))
def test_neither_batches_nor_their_order_change_a_clean_score(sets, batch_size, max_tokens, seed):
    config = dataclasses.replace(CLEAN, max_tokens=max_tokens)
    expected = score(runs(), sets, config, batch_size=5)
    order = np.random.default_rng(seed)

    class Shuffled(type(sets["train"])):
        def positions_by_size(self, size):
            rows = order.permutation(len(self))
            for start in range(0, len(rows), size):
                yield rows[start : start + size]

    shuffled = {name: Shuffled(**vars(events)) for name, events in sets.items()}
    found = score(runs(), shuffled, config, batch_size=batch_size)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.metrics == expected.metrics


def test_a_class_that_no_training_token_holds_is_never_predicted(sets):
    train = first_tokens(runs(), sets["train"], 10**6)
    labels = train.labels.copy()
    labels[:, 2], labels[:, 3] = False, True
    predicted = fit_probe(train.features, labels, CLEAN).predict(train.features)
    assert not predicted[:, 2].any() and predicted[:, 3].all()


def test_features_that_are_not_finite_and_sets_without_tokens_are_refused(sets):
    with pytest.raises(BenchmarkError, match="tokens are not finite"):
        score(runs(broken=True), sets)
    nothing = dataclasses.replace(sets["train"], indices=np.zeros(0, np.int64))
    with pytest.raises(DataError, match="0 events have no token"):
        score(runs(), {**sets, "train": nothing})


def test_a_model_without_tokens_is_refused(sets):
    pointnet = registry.model_spec("pointnet")
    config = resolve(Request("pointnet", preset="tiny", dataset="pilarnet-m"))
    model = pointnet.build(config.model_config, Inputs(("log_energy",), FRAME), config.task)
    with pytest.raises(BenchmarkError, match="has no tokens"):
        score(model, sets)


# --- the published protocol, and during pre-training ---


def test_the_published_protocol_takes_the_first_tokens_of_both_sides(sets):
    config = dataclasses.replace(CLEAN, protocol="published", max_tokens=60)
    found = score(runs(), sets, config, scored="val")
    train, val = (first_tokens(runs(), sets[s], 60) for s in ("train", "val"))
    fitted = fit_probe(train.features, train.labels, config)
    expected = multilabel_counts(fitted.predict(val.features), val.labels, np.array([0, 60]))[0]
    np.testing.assert_array_equal(found.counts.sum(0), expected)
    assert found.metrics["n_tokens"] == 60
    assert found.events == {"labelled": len(np.unique(train.event)), "test": len(np.unique(val.event))}


def test_the_score_during_pretraining_is_that_of_the_published_protocol(sets):
    config = dataclasses.replace(CLEAN, protocol="published", max_tokens=80)
    scores = probe_score(runs(), sets["train"], sets["val"], config)
    found = score(runs(), sets, config, scored="val").metrics
    assert scores["macro_f1"] == pytest.approx(found["overall"]["macro_f1"]["value"])
    assert scores["f1_track"] == pytest.approx(found["per_class"]["track"]["f1"]["value"])
    assert scores == probe_score(runs(), sets["train"], sets["val"], config)


# --- the command ---


def ask(**values):
    tiny = request("polarmae", task="lartpc-token-probe", mode="scratch")
    assignments = ("preprocess.min_points=0", *values.pop("assignments", ()))
    return dataclasses.replace(tiny, assignments=assignments, **values)


@pytest.fixture(scope="module")
def ran(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("ran")
    return root, execute(folder, root, ask()).record


def test_a_run_records_the_probe_and_trains_nothing(ran):
    root, record = ran
    assert record.status == "finished"
    assert record.training["steps"] == 0
    assert record.training["probe"]["n_tokens"] > 0
    assert record.config["probe"] == {"c": 0.005, "components": 128, "max_tokens": 15_000, "protocol": "clean"}
    assert record.events["labelled"] == 6 and record.events["test"] == 11
    counts = unpack_counts(record.per_event)
    assert counts.shape == (11, 5, 4) and counts[:, -1].sum() == record.metrics["n_tokens"]
    assert not list((root / "runs").rglob("*.safetensors"))
    assert record.resources["n_parameters"] < n_parameters_of_the_whole_model()


def n_parameters_of_the_whole_model():
    config = resolve(ask())
    model = registry.model_spec("polarmae").build(config.model_config, Inputs(("log_energy",), FRAME), TASK)
    return model.n_parameters


def test_batch_size_never_changes_a_run_but_settings_of_the_probe_name_another(ran, folder, tmp_path):
    _, record = ran
    other = execute(folder, tmp_path, ask(assignments=("train.batch_size=1",))).record
    for name, found in other.metrics["overall"].items():
        assert found["value"] == pytest.approx(record.metrics["overall"][name]["value"], abs=0.02)
    changed = execute(folder, tmp_path, ask(assignments=("probe.c=0.5",))).record
    assert changed.fingerprint != record.fingerprint


def test_pretrained_features_are_probed(folder, tmp_path):
    record = execute(folder, tmp_path, ask(mode=None, assignments=("pretrain.steps=2", "pretrain.events=4"))).record
    assert record.config["mode"] == "frozen"
    assert record.training["pretraining"]["steps"] == 2
    assert record.events["unlabelled"] == 4


def test_the_published_protocol_scores_validation_events(folder, tmp_path):
    settings = ("probe.protocol=published", "probe.max_tokens=50")
    record = execute(folder, tmp_path, ask(labels="all", assignments=settings)).record
    assert record.metrics["n_tokens"] == record.training["probe"]["n_tokens"] == 50
    assert record.events["test"] == len(unpack_counts(record.per_event)) < 9
    assert set(record.events["excluded"]) == {"train", "val"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "fft"}, "--mode fft trains the model"),
        ({"mode": "peft"}, "--mode peft trains the model"),
        ({"model": "pointnet", "mode": None}, "pointnet cannot do lartpc-token-probe"),
        ({"model": "majority", "mode": None}, "majority cannot do lartpc-token-probe"),
        ({"assignments": ("probe.protocol=published",)}, "--labels 6 does not fit probe.protocol=published"),
        ({"assignments": ("probe.c=0",)}, "probe.c=0.0 is not possible"),
        ({"assignments": ("probe.protocol=other",)}, "probe.protocol='other' does not fit"),
        ({"assignments": ("optim.lr=1",)}, "no section of settings 'optim'"),
    ],
)
def test_what_a_probe_cannot_do_is_told(values, message):
    with pytest.raises(BenchmarkError, match=message):
        resolve(ask(**values))


def test_other_tasks_have_no_settings_of_the_probe():
    assert resolve(request("polarmae")).probe is None
    with pytest.raises(BenchmarkError, match="no section of settings 'probe'"):
        resolve(request("polarmae", "probe.c=1"))


def test_a_probe_cannot_be_transferred(ran, folder, tmp_path):
    with pytest.raises(ConfigError, match="trains no weights"):
        transfer(write_record(tmp_path, ran[1]), Target("pilarnet-m", "val"), Execution(data=folder))


def test_the_command_shows_the_scores_and_the_leaderboard_a_table_of_their_own(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARTICLEBENCH_RECORDS", str(tmp_path / "records"))
    common = ["run", "--model", "polarmae", "--mode", "scratch", "--preset", "tiny", "--dataset", "pilarnet-m",
              "--data", str(folder), "--threads", "1", "--device", "cpu", "--set", "min_points=0"]  # fmt: skip
    published = ["--labels", "all", "--set", "probe.protocol=published", "--set", "probe.max_tokens=9"]
    for more in (["--labels", "4"], published):
        main([*common, "--task", "lartpc-token-probe", *more])
    shown = " ".join(capsys.readouterr().out.split())
    assert "right in every class" in shown and "linear SVM on 9 tokens, 9 tokens" in shown
    assert "majority" not in shown
    main([*common, "--labels", "4", "--set", "train.steps=2", "--beside", "none"])
    assert "mean_over_batches" not in capsys.readouterr().out
    main(["leaderboard", "--format", "markdown"])
    tables = capsys.readouterr().out.split("**lartpc-")
    assert [t.split("**")[0].split(" on ")[0] for t in tables[1:]] == [
        "segmentation (version 1)", "token-probe (version 1)", "token-probe (version 1)",
    ]  # fmt: skip
    assert "published protocol" in tables[3] and "published" not in tables[2]
    assert "training tokens" in tables[2] and "steps" not in tables[2]


def test_budgets_are_those_of_every_other_task(sets, ran):
    expected = subset(sets["train"].event_ids, 6, 0)
    assert ran[1].subset_sha256 == expected.sha256
