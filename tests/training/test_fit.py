"""What one optimiser step does: clipping, fused optimisers, and numbers that are read once they have arrived."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from benchmark.contracts import OptimConfig
from benchmark.errors import BenchmarkError, DataError, RecordError
from benchmark.registry import model_spec
from benchmark.training import fit as training
from benchmark.training import module
from benchmark.training.callbacks import StateFiles, Watch, _Step
from benchmark.training.config import TrainConfig
from benchmark.training.fit import Hardware, fit
from builders.synthetic import break_batch, request, training_events


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function: the losses of a few steps of a tiny PointNet in bf16 under strong clipping."""
    config, events, inputs = training_events(tmp_path_factory.mktemp("events"), request())

    def train(name):
        torch.manual_seed(0)
        report = fit(
            model_spec("pointnet").build(config.model_config, inputs, config.task), events,
            TrainConfig(6, batch_size=2), OptimConfig(lr=1e-2, clip_norm=0.1), stage="finetune", seed=0,
            hardware=Hardware("cpu", "bf16"), folder=tmp_path_factory.mktemp(name), title="t",
        )  # fmt: skip
        return report.history["loss"], report.history["grad_norm"]

    return train


def loaded_by(n_workers):
    return lambda stream, device, own: DataLoader(stream, batch_size=None, num_workers=n_workers)


def test_batches_that_other_processes_prepare_train_the_same(trained, monkeypatch):
    alone = trained("alone")
    monkeypatch.setattr(training, "_loader", loaded_by(4))
    assert trained("together") == alone


def test_what_another_process_cannot_prepare_is_told_in_its_own_words(trained, monkeypatch):
    monkeypatch.setattr(training, "_loader", loaded_by(2))
    break_batch(monkeypatch, 3)
    with pytest.raises(DataError, match=r"^Event 7 is broken\.$"):
        trained("broken")


def test_a_fused_optimiser_trains_with_clipping_in_half_precision(trained, monkeypatch):
    usual, norms = trained("usual")

    def fused(groups, optim):
        return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, fused=True)

    monkeypatch.setattr(module, "make_optimiser", fused)
    losses, _ = trained("fused")
    assert losses == pytest.approx(usual, rel=2e-2)
    assert len(set(losses)) == 6
    assert max(norms) > 0.1  # clipping had something to do, and the norm is that from before


@pytest.mark.parametrize(("limit", "left"), [(1.0, 1.0), (0.0, 5.0), (10.0, 5.0)])
def test_clipping_bounds_the_gradient_and_keeps_its_norm(limit, left):
    weights = torch.nn.Parameter(torch.zeros(2))
    weights.grad = torch.tensor([3.0, 4.0])
    stage = SimpleNamespace(optim=OptimConfig(clip_norm=limit))
    module.Training.configure_gradient_clipping(stage, torch.optim.SGD([weights], lr=1.0))
    assert float(stage.grad_norm) == 5.0
    assert float(weights.grad.norm()) == pytest.approx(left, rel=1e-5)


def test_numbers_that_are_on_their_way_are_read_a_step_later_and_all_in_the_end(capsys):
    def step(number, loss):
        values = torch.tensor([loss, 0.5, 7.0], dtype=torch.float64)
        return _Step(number, ("e",), ("loss", "chamfer", "grad_norm"), values, torch.eye(2), 0.1, None)

    watch = Watch(3, "t")
    with watch:
        for number, loss in enumerate((3.0, 2.0, 1.0), 1):
            watch._waiting.append(step(number, loss))
            watch._read_steps(later=1)
            assert len(watch.losses) == number - 1
        kept = watch.state_dict()
        assert kept["losses"] == watch.losses == [3.0, 2.0, 1.0]
        assert kept["norms"] == [7.0] * 3
        assert kept["series"] == {"chamfer": [0.5] * 3, "lr": [0.1] * 3}
        assert kept["counts"] == [[[1, 0], [0, 1]]] * 3
        watch._waiting.append(step(4, float("nan")))
        watch._read_steps(later=1)
        with pytest.raises(BenchmarkError, match="nan at step 4"):
            watch.on_train_end(None, None)


def test_a_state_that_the_disk_has_no_room_for_is_one_sentence(tmp_path, monkeypatch):
    def no_space(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", no_space)
    with pytest.raises(RecordError, match=r"step=1.ckpt could not be written: No space left on device\."):
        StateFiles().save_checkpoint({"a": torch.zeros(3)}, str(tmp_path / "step=1.ckpt"))
    assert not list(tmp_path.iterdir())
