"""FLOPs: equal to counts by hand for small networks and sparse convolutions; every model has some; runs record them."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.contracts import PointBatch, TorchModel
from benchmark.data.preparation import model_inputs
from benchmark.data.stream import event_set
from benchmark.datasets._pilarnet import FRAME
from benchmark.evaluation.flops import flops_per_event, forward_flops
from benchmark.records.store import read_record, record_path
from benchmark.registry import dataset_spec, model_spec
from benchmark.runs.config import Request
from benchmark.runs.resolve import can_do, resolve
from benchmark.sparse.backends import choose
from benchmark.sparse.sites import Sites
from benchmark.tasks import task
from builders import calo_batches
from builders.models import models
from builders.synthetic import execute, request

TASK = task("lartpc-segmentation")
N = 10


def points(n=N, seed=0):
    rng = np.random.default_rng(seed)
    coords = np.unique(rng.integers(100, 104, (3 * n, 3)), axis=0)[:n].astype(np.float32)
    assert len(coords) == n
    energy = np.ones(n, np.float32)
    return PointBatch(
        coords=coords, energy=energy, feats=energy[:, None], offsets=np.array([0, n]), event_ids=("a",),
        columns=("log_energy",), frame=FRAME,
    )  # fmt: skip


class Net(TorchModel):
    """Whatever the test puts between the columns and the scores."""

    def __init__(self, body):
        super().__init__(TASK)
        self.body, self.seen = nn.ModuleList([body] if isinstance(body, nn.Module) else []), []
        self.call = body
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        self.seen.append((batch.target, self.training))
        return self.call(batch.feats * self.scale)


@pytest.mark.parametrize(
    ("body", "by_hand"),
    [
        (nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 4)), 2 * N * (1 * 8 + 8 * 4)),
        (nn.Sequential(nn.Linear(1, 8), nn.LayerNorm(8), nn.Linear(8, 4, bias=False)), 2 * N * (1 * 8 + 8 * 4)),
        (lambda x: torch.einsum("nc,cd->nd", x.expand(N, 3), torch.ones(3, 5)), 2 * N * 3 * 5),
        (lambda x: torch.ones(7, N) @ x[:, 0], 2 * 7 * N),
        (lambda x: x.new_zeros(N, 6).addmm_(x, torch.ones(1, 6)), 2 * N * 6),
    ],
    ids=["perceptron", "without bias", "einsum", "matrix and vector", "in place"],
)
def test_products_are_counted_as_by_hand(body, by_hand):
    assert forward_flops(Net(body), points()) == by_hand


def test_a_convolution_is_counted_as_by_hand():
    model = Net(nn.Sequential(nn.Unflatten(0, (1, N)), nn.Unflatten(2, (1, 1)), nn.Flatten(2), nn.Conv1d(N, 3, 1)))
    assert forward_flops(model, points()) == 2 * N * 3


def attention(x):
    q = x.expand(N, 16).reshape(1, N, 2, 8).transpose(1, 2)
    return nn.functional.scaled_dot_product_attention(q, q, q)


def test_attention_is_counted_as_by_hand():
    assert forward_flops(Net(attention), points()) == 2 * (2 * 2 * N * N * 8)  # heads x (q k, then times v)


def test_the_layers_of_torch_take_no_shortcut_past_the_counter():
    width, hidden = 8, 16
    layer = nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True)
    model = Net(nn.Sequential(nn.Linear(1, width), nn.Unflatten(0, (1, N)), layer))
    attended = 2 * 2 * N * N * width  # q k, and times v
    by_hand = 2 * N * width + 2 * N * width * 4 * width + attended + 2 * N * 2 * width * hidden
    assert forward_flops(model, points()) == by_hand


def test_a_submanifold_convolution_counts_the_pairs_of_neighbours_that_exist():
    batch = points(30)
    coords = torch.as_tensor(batch.coords).long()
    n_pairs = int(((coords[:, None] - coords[None]).abs().amax(2) <= 1).sum())  # the voxel itself included
    sites, _ = Sites.of(torch.cat([torch.zeros(len(coords), 1, dtype=torch.long), coords], dim=1))
    kernel, native = torch.ones(27, 3, 5), choose("native", torch.device("cpu"))
    model = Net(lambda x: native.submanifold(x.expand(-1, 3), kernel, sites))
    assert forward_flops(model, batch) == 2 * 3 * 5 * n_pairs


def test_the_model_is_left_as_it_was():
    model = Net(nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4)))
    model.body.eval()
    forward_flops(model, points())
    assert model.training and not model.body.training
    assert model.seen == [(None, False)]
    assert int(model.body[0][1].num_batches_tracked) == 0
    assert all(p.grad is None for p in model.parameters())


def opened(data, asked):
    config = resolve(asked)
    dataset = dataset_spec("pilarnet-m").open(config.data, data)
    return config, dataset, event_set(dataset, "test", config.task, config.preprocess)


def test_the_mean_is_over_events_that_are_predicted_alone(data):
    _, _, events = opened(data, request())
    model = Net(nn.Linear(1, 4))
    sizes = [events.batch([i]).n_points for i in range(3)]
    assert len(set(sizes)) > 1
    assert flops_per_event(model, events, 3) == round(sum(2 * n * 4 for n in sizes) / 3)
    assert flops_per_event(model, events, 1000) > 0  # fewer events than asked for
    assert all(target is None for target, _ in model.seen)


def test_an_engine_that_hides_its_products_gives_no_count(data):
    class Hidden(Net):
        backends = {"sparse convolution": "spconv"}  # noqa: RUF012

    assert flops_per_event(Hidden(nn.Linear(1, 4)), opened(data, request())[2]) is None


@pytest.mark.parametrize("name", models(lambda spec: spec.name != "majority" and can_do(spec, TASK)))
def test_every_torch_model_has_a_count(data, name):
    config, dataset, events = opened(data, request(name, assignments=("preprocess.min_points=0",)))
    model = model_spec(name).build(
        config.model_config, model_inputs(config.preprocess, dataset.info.frame), config.task
    )
    if not isinstance(model, TorchModel):
        pytest.skip(f"{name} is no torch model")
    count = flops_per_event(model, events, 1)
    assert count > 2 * events.batch([0]).n_points * config.task.n_outputs  # more than a read-out alone


@pytest.mark.parametrize("name", ["cnn", "dnn"])
def test_models_of_the_calorimeter_alone_have_a_count_too(name):
    clusters = task("pion-classification")
    config = resolve(Request(name, clusters.name, preset="tiny"))
    model = model_spec(name).build(config.model_config, calo_batches.inputs_of(clusters), clusters)
    assert forward_flops(model, calo_batches.make_batch(clusters, (40,)).without_target()) > 100


def test_runs_record_the_count_and_records_without_it_are_read(data, tmp_path):
    record = execute(data, tmp_path, request()).record
    assert record.resources["flops_per_event"] > 0
    plain = execute(data, tmp_path, request("majority")).record
    assert "flops_per_event" not in plain.resources
    assert read_record(record_path(tmp_path / "records", plain)) == plain
