"""Models give the same results with the GPU's kernels as with the CPU's code: tokens, interpolation, whole networks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from builders.batches import make_batch

pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")

from benchmark import tasks
from benchmark.baselines import _ptv3_model, sparse_uresnet
from benchmark.models import _tokens
from benchmark.models._tokens import group_points, interpolate_points
from benchmark.ops import triton
from benchmark.ops.grouping import GroupingConfig
from benchmark.sparse import backend

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
SIZES = (900, 300, 1500) if ON_GPU else (16, 9)
CONFIG = GroupingConfig(n_points=8, max_groups=64 if ON_GPU else 5, overflow="spread")


@pytest.fixture
def kernels(monkeypatch):
    """Models use the kernels on this device, in the interpreter where there is no GPU."""
    monkeypatch.setattr(triton, "serves", lambda device: True)


def on_host(batch):
    return group_points(batch, batch.columns, CONFIG)


REPEATS = pytest.mark.skipif(not ON_GPU, reason="in the interpreter, what other cases run already; runs on a GPU")


def test_tokens_are_the_same(monkeypatch):
    batch = make_batch(tasks.task("lartpc-segmentation"), SIZES).to_torch()
    expected = on_host(batch)
    monkeypatch.setattr(triton, "serves", lambda device: True)
    found = group_points(batch.to_torch(DEVICE), batch.columns, CONFIG)
    assert found.lengths == expected.lengths
    for name in ("event", "centre", "sizes", "token", "point", "slot"):
        assert torch.equal(getattr(found, name).cpu(), getattr(expected, name)), name
    for name in ("centres", "inputs"):
        torch.testing.assert_close(getattr(found, name).cpu(), getattr(expected, name))


def test_interpolation_is_the_same(monkeypatch):
    batch = make_batch(tasks.task("lartpc-segmentation"), SIZES).to_torch()
    tokens = on_host(batch)
    expected = interpolate_points(batch, tokens, 5)
    monkeypatch.setattr(triton, "serves", lambda device: True)
    there = batch.to_torch(DEVICE)
    found = interpolate_points(there, group_points(there, batch.columns, CONFIG), 5)
    np.testing.assert_array_equal(found.tokens.cpu(), expected.tokens)
    torch.testing.assert_close(found.weights.cpu(), expected.weights)


@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU, reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["polarmae", "pointmae"])
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_models_loss_and_gradients_are_the_cpus(name, stage, monkeypatch):
    from benchmark.models import _masked_autoencoder
    from benchmark.models._masking import random_mask
    from benchmark.perf.steps import build_model

    def same_mask(lengths, ratio, device, generator):
        return random_mask(lengths, ratio, device, torch.Generator().manual_seed(3))

    monkeypatch.setattr(_masked_autoencoder, "random_mask", same_mask)

    batch = make_batch(tasks.task("lartpc-segmentation"), SIZES)
    results = []
    for device in ("cpu", "cuda"):
        model = build_model(name, "tiny", batch).to(device).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        torch.manual_seed(3)
        given = batch.to_torch(device)
        loss = model.pretrain_loss(given)[0] if stage == "pretrain" else model.finetune_loss(given)[0]
        loss.backward()
        gradients = [p.grad.cpu().flatten() for p in model.parameters() if p.grad is not None]
        results.append((float(loss), torch.cat(gradients)))
    (loss, gradient), (there, other) = results
    assert there == pytest.approx(loss, rel=1e-3)
    assert float((gradient - other).norm() / gradient.norm()) < 2e-2


def test_compiled_blocks_are_one_graph_for_every_depth_and_batch_and_give_the_same(kernels):
    from benchmark.models._vit import Packing, Positions, Transformer

    def run(net, lengths):
        draw = torch.Generator().manual_seed(sum(lengths))
        tokens, added = (torch.randn(sum(lengths), 24, generator=draw).to(DEVICE) for _ in range(2))
        event = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(DEVICE)
        tokens.requires_grad_()
        torch.manual_seed(7)  # of stochastic depth
        out = net(tokens, Positions(added, None), Packing.of(lengths, event))[-1]
        (gradient,) = torch.autograd.grad(out.square().sum(), tokens)
        return out.detach(), gradient

    torch._dynamo.reset()
    torch.manual_seed(0)
    net = Transformer(24, 3, 2, 2.0, 0.0, 0.3).to(DEVICE).train()
    batches = ((20, 3, 2, 1), (9, 30, 2), (40, 1, 4, 8, 5))
    expected = [run(net, lengths) for lengths in batches]
    for block in net.blocks:
        block.compile(dynamic=True, fullgraph=True, backend="inductor" if ON_GPU else "aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for lengths, wanted in zip(batches, expected, strict=True):
            torch.testing.assert_close(run(net, lengths), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", ["pretrain", pytest.param("finetune", marks=REPEATS)])
def test_training_with_compiled_blocks_gives_the_same_and_leaves_the_model_as_it_was(
    kernels, stage, tmp_path, monkeypatch
):
    from benchmark.contracts import OptimConfig
    from benchmark.registry import model_spec
    from benchmark.training.config import TrainConfig
    from benchmark.training.fit import Hardware, fit
    from builders.synthetic import request, training_events

    if not ON_GPU:  # the interpreter takes a minute for the tokens of a step
        monkeypatch.setattr(_tokens, "triton", SimpleNamespace(serves=lambda device: False))
    asked = request("polarmae", "model.max_tokens=6", "model.group_points=8")
    config, events, inputs = training_events(tmp_path, asked)
    compile_, made = torch.nn.Module.compile, []

    def compiled(module, **how):
        made.append(module)
        return compile_(module, **how, backend="inductor" if ON_GPU else "aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    losses = []
    for hardware in (Hardware(DEVICE, "32"), Hardware(DEVICE, "32", compiled=True)):
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = model_spec("polarmae").build(config.model_config, inputs, config.task)
        report = fit(
            model, events, TrainConfig(2, batch_size=2), OptimConfig(lr=1e-3), stage=stage, seed=0, hardware=hardware,
            folder=tmp_path / f"{hardware.compiled}", title="t",
        )  # fmt: skip
        losses.append(report.history["loss"])
    assert made == list(model.parts_to_compile())
    assert all(part._compiled_call_impl is None for part in made)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU, reason="needs a CUDA device")
def test_batches_prepared_on_another_stream_hold_what_the_main_one_makes():
    """Many rounds, while the main stream is kept busy: memory that is given away too early would show."""
    from benchmark.perf.steps import build_model
    from benchmark.training.ahead import SideStream, tensors_in

    batches = [make_batch(tasks.task("lartpc-segmentation"), SIZES[:n]) for n in (3, 2, 1)]
    model, side = build_model("polarmae", "tiny", batches[0]).to("cuda"), SideStream("cuda")
    busy, found = torch.randn(4096, 4096, device="cuda"), []
    for round_ in range(30):
        prepared = side.prepared(model, batches[round_ % 3], "finetune", round_).prepared
        for _ in range(5):
            busy = (busy @ busy).tanh()
        found.append(torch.stack([t.double().sum() for t in tensors_in(prepared)]))
        del prepared
    for round_, sums in enumerate(found):
        tokens = model.tokens(batches[round_ % 3].to_torch("cuda"))
        torch.testing.assert_close(sums, torch.stack([t.double().sum() for t in tensors_in(tokens)]))


class Waits(TorchDispatchMode):
    """Notes what makes the host wait for a GPU: numbers read, and shapes that depend on them."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function._schema.name.partition("::")[2]
        by_mask = name.startswith(("index", "_index")) and any(
            t is not None and t.dtype == torch.bool for t in (arguments[1] if isinstance(arguments[1], list) else ())
        )
        unsized = name == "repeat_interleave" and not (named or {}).get("output_size")
        if by_mask or unsized or name in ("nonzero", "_local_scalar_dense", "masked_select", "_unique2"):
            self.found.append(name)
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("polarmae", "pretrain"), ("polarmae", "finetune"),
        *(pytest.param("pointmae", stage, marks=REPEATS) for stage in ("pretrain", "finetune")),
        ("sparse_uresnet", "finetune"), ("ptv3", "finetune"),
    ],
)  # fmt: skip
def test_no_step_on_a_prepared_batch_waits_for_the_gpu(kernels, name, stage, monkeypatch):
    from benchmark.perf.steps import build_model
    from benchmark.training.ahead import SideStream

    for module in (sparse_uresnet, _ptv3_model):
        monkeypatch.setattr(module, "choose", lambda name, device: backend("triton"))
    batch = make_batch(tasks.task("lartpc-segmentation"), SIZES)
    model = build_model(name, "tiny", batch).to(DEVICE).train()
    if name == "ptv3":
        model.config = replace(model.config, lovasz=0.5)  # as published
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, fused=True)
    prepared = SideStream(DEVICE).prepared(model, batch, stage, 1)

    def step():
        loss = model.pretrain_loss(prepared)[0] if stage == "pretrain" else model.finetune_loss(prepared)[0]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 3.0)
        optimiser.step()
        optimiser.zero_grad()

    if ON_GPU:
        step()  # compiles

        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return

    def told(tensor):
        raise AssertionError("numbers were read")

    monkeypatch.setattr(torch.Tensor, "tolist", told)
    monkeypatch.setattr(torch.Tensor, "item", told)
    with Waits() as waits:
        step()
    assert waits.found == []
