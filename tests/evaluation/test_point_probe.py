"""The probe of points: which points, whose labels, which penalty, and the numbers against scikit-learn."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from benchmark import registry, tasks
from benchmark.contracts.torch_model import TorchModel
from benchmark.data.preprocess import Preprocess
from benchmark.data.stream import event_set
from benchmark.errors import BenchmarkError, DataError
from benchmark.evaluation.point_probe import PointProbeConfig, point_probe_score, sampled_points, split_in_parts
from builders.pilarnet_files import make_events, write_folder

TASK = tasks.task("lartpc-segmentation")
FEW = PointProbeConfig(points=30)


class Waves(TorchModel):
    """Features are a fixed map of places and energies, the same bits in any batch."""

    def __init__(self, broken=False):
        super().__init__(TASK)
        self.map = torch.nn.Linear(4, 6)
        with torch.no_grad():
            self.map.weight.copy_(torch.linspace(-1, 1, 24).view(6, 4))
        self.broken, self.seen = broken, []

    def point_features(self, batch):
        assert batch.target is None and batch.instance is None, "a backbone was shown labels"
        assert not self.training
        self.seen += batch.event_ids
        places = torch.cat([(batch.coords - 384) / 100, batch.energy[:, None].log10()], dim=1).double()
        return torch.sin(places @ self.map.weight.double().T).float() * (float("nan") if self.broken else 1)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """Nine events of a validation split."""
    rng = np.random.default_rng(2)
    sizes = {"train": 2, "val": 9, "test": 3}
    folder = write_folder(tmp_path_factory.mktemp("probe"), {s: make_events(rng, n) for s, n in sizes.items()})
    spec = registry.dataset_spec("pilarnet-m")
    return event_set(spec.open(spec.config(), folder), "val", TASK, Preprocess(min_points=0))


def drawn(model, events, points=30):
    """Classes of the sample, event by event."""
    alone = [dataclasses.replace(events, indices=events.indices[i : i + 1]) for i in range(len(events))]
    return [sampled_points(model, one, PointProbeConfig(points=points)) for one in alone]


def test_every_event_gives_as_many_points_whatever_its_batch(events):
    together, alone = sampled_points(Waves(), events, FEW), drawn(Waves(), events)
    assert [len(one.labels) for one in alone] == [30] * len(events)
    np.testing.assert_array_equal(together.features, np.concatenate([one.features for one in alone]))
    np.testing.assert_array_equal(together.labels, np.concatenate([one.labels for one in alone]))
    whole = sampled_points(Waves(), events, PointProbeConfig(points=10**6))
    assert len(whole.labels) == sum(events.batch([i]).n_points for i in range(len(events)))
    assert set(together.labels) <= set(range(4))


def test_rows_hold_the_class_of_their_own_point(events):
    one = dataclasses.replace(events, indices=events.indices[:1])
    batch, found = one.batch([0]), sampled_points(Waves(), one, FEW)
    model = Waves().eval()
    features = model.point_features(batch.without_target().to_torch()).detach().numpy()
    for row, label in zip(found.features, found.labels, strict=True):
        (places,) = np.nonzero((features == row).all(axis=1))
        assert label in batch.target[places]


def test_parts_share_no_event(events):
    parts = split_in_parts(events, 3)
    ids = [set(part.event_ids) for part in parts]
    assert set.union(*ids) == set(events.event_ids) and sum(map(len, ids)) == len(events)
    with pytest.raises(DataError, match=r"9 usable event.*At least 10.*Leave --probe-every out"):
        split_in_parts(events, 10)


def test_scores_are_those_of_scikit_learn_with_the_penalty_that_the_second_part_chooses(events):
    config = PointProbeConfig(c=(1e-5, 1e-2, 1.0), points=60)
    parts = split_in_parts(events, 3)
    scores = point_probe_score(Waves(), *parts, config)
    fit, choose, score = (sampled_points(Waves(), part, config) for part in parts)
    scaler = StandardScaler().fit(fit.features.astype(np.float64))
    f1 = {}
    for c in config.c:
        svm = LinearSVC(C=c, class_weight="balanced", random_state=0, max_iter=2000)
        svm.fit(scaler.transform(fit.features.astype(np.float64)), fit.labels)
        predicted = [svm.predict(scaler.transform(p.features.astype(np.float64))) for p in (choose, score)]
        f1[c] = [f1_score(p.labels, q, average="macro") for p, q in zip((choose, score), predicted, strict=True)]
    best = max(config.c, key=lambda c: f1[c][0])
    assert scores["c"] == best
    assert scores["macro_f1"] == pytest.approx(f1[best][1], abs=1e-12)
    assert scores == point_probe_score(Waves(), *parts, config)


def test_the_scored_part_chooses_nothing(events):
    parts = split_in_parts(events, 3)
    chosen = {point_probe_score(Waves(), *parts[:2], scored, FEW)["c"] for scored in parts}
    assert len(chosen) == 1


def test_what_cannot_be_probed_is_told(events):
    parts = split_in_parts(events, 3)
    with pytest.raises(BenchmarkError, match=r"not finite.*--set pretrain_optim.lr"):
        point_probe_score(Waves(broken=True), *parts, FEW)
