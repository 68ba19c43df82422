"""Batches are moved and prepared before the step that needs them, and train the same."""

from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch

from benchmark import tasks
from benchmark.contracts import OptimConfig
from benchmark.errors import DataError
from benchmark.models._masking import Masked
from benchmark.perf.steps import build_model
from benchmark.registry import model_spec
from benchmark.runs.resolve import resolve
from benchmark.training import fit as training
from benchmark.training.ahead import Ahead, SideStream, tensors_in
from benchmark.training.config import TrainConfig
from benchmark.training.fit import Hardware, fit
from benchmark.training.module import Training
from builders.batches import make_batch
from builders.synthetic import break_batch, request, training_events


@pytest.fixture(scope="module")
def batch():
    return make_batch(tasks.task("lartpc-segmentation"), (300, 200))


@pytest.mark.parametrize("name", ["polarmae", "pointmae"])
@pytest.mark.parametrize("behaviour", ["clean", "reference"])
def test_a_prepared_batch_gives_the_same_loss_and_its_draws_depend_on_the_seed_alone(batch, name, behaviour):
    model = build_model(name, "tiny" if behaviour == "clean" else "reference", batch).eval()
    side = SideStream("cpu")
    found = [side.prepared(model, batch, "pretrain", seed) for seed in (1, 1, 2)]
    first, again, other = (b.prepared for b in found)
    assert isinstance(first, Masked)
    assert torch.equal(first.hidden, again.hidden) and not torch.equal(first.hidden, other.hidden)
    tokens = model.tokens(batch.to_torch())
    losses = []
    for loss in (lambda: model.pretrain_loss(found[0]), lambda: model.masked_loss(Masked.of(tokens, first.hidden))):
        torch.manual_seed(0)  # the reference keeps dropout
        losses.append(float(loss()[0]))
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("polarmae", "Tokens"),
        ("transformer", "Tokens"),
        ("sparse_uresnet", "Voxels"),
        ("gnn", "Graphs"),
        ("pointnet2", "Hierarchy"),
        ("ptv3", "Serialised"),
    ],
)
def test_what_is_prepared_is_what_the_step_would_make(batch, name, kind):
    if name == "gnn":
        pytest.importorskip("torch_geometric")
    model = build_model(name, "tiny", batch).eval()
    prepared = SideStream("cpu").prepared(model, batch, "finetune", 1)
    assert type(prepared.prepared).__name__ == kind
    with torch.no_grad():
        assert torch.equal(model(prepared), model(batch.to_torch()))


def test_models_prepare_nothing_by_default(batch):
    model = build_model("pointnet", "tiny", batch)
    assert SideStream("cpu").prepared(model, batch, "finetune", 1).prepared is None


def test_all_tensors_are_found():
    @dataclass
    class Held:
        one: torch.Tensor
        other: object
        name: str = "x"

    Pair = namedtuple("Pair", "a b")
    t = [torch.tensor(i) for i in range(5)]
    held = Held(t[0], {"k": [t[1], (t[2], None)], "p": Pair(t[3], Held(t[4], 1))})
    held.other["again"] = held
    assert sorted(int(tensor) for tensor in tensors_in(held)) == [0, 1, 2, 3, 4]


def test_tensors_of_voxels_and_their_levels_are_found(batch):
    model = build_model("sparse_uresnet", "tiny", batch)
    voxels = SideStream("cpu").prepared(model, batch, "finetune", 1).prepared
    coarser = voxels.sites.coarser.coarser
    found = {id(tensor) for tensor in tensors_in(voxels)}
    wanted = (voxels.row, voxels.sites.keys, voxels.sites.parent, coarser.coords)
    assert {id(tensor) for tensor in wanted} <= found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function: the losses of a few steps of a tiny model in float32."""
    _, events, inputs = training_events(tmp_path_factory.mktemp("events"), request())

    def train(name, stage="finetune"):
        torch.manual_seed(0)
        config = resolve(request(name))
        model = model_spec(name).build(config.model_config, inputs, config.task)
        report = fit(
            model, events, TrainConfig(4, batch_size=2), OptimConfig(lr=1e-3), stage=stage, seed=0,
            hardware=Hardware("cpu", "32"), folder=tmp_path_factory.mktemp(name), title="t",
        )  # fmt: skip
        return report.history["loss"]

    return train


@pytest.fixture
def ahead(monkeypatch):
    """Training prepares batches ahead on this CPU; what happens in which order."""
    told, usual, step, prepared = [], training._loader, Training.training_step, SideStream.prepared

    def prepare(self, model, batch, stage, seed):
        told.append("prepared")
        return prepared(self, model, batch, stage, seed)

    def watched(self, batch, index):
        told.append("step")
        return step(self, batch, index)

    monkeypatch.setattr(SideStream, "prepared", prepare)
    monkeypatch.setattr(Training, "training_step", watched)
    model = {}
    monkeypatch.setattr(Training, "__init__", keep_model(Training.__init__, model))
    monkeypatch.setattr(
        training, "_loader",
        lambda stream, device, own: Ahead(usual(stream, device, own), model["is"], model["stage"], 0, 0, kind="cpu"),
    )  # fmt: skip
    return told


def keep_model(constructor, kept):
    def made(self, model, optim, n_steps, seed, stage, frozen):
        kept.update({"is": model, "stage": stage})
        constructor(self, model, optim, n_steps, seed, stage, frozen)

    return made


def test_training_asks_for_a_batch_before_it_needs_it_and_gives_the_same(trained, request):
    alone = trained("transformer")
    told = request.getfixturevalue("ahead")
    assert trained("transformer") == alone
    assert told == ["prepared", "prepared", "step", "prepared", "step", "prepared", "step", "step"]


def test_pretraining_with_prepared_masks_repeats_itself(trained, ahead):
    first, again = trained("polarmae", "pretrain"), trained("polarmae", "pretrain")
    assert first == again and len(set(first)) == 4


def test_an_error_of_the_loader_ends_training_in_its_own_words(trained, ahead, monkeypatch):
    break_batch(monkeypatch, 2)
    with pytest.raises(DataError, match=r"^Event 7 is broken\.$"):
        trained("pointnet")
