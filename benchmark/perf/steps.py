"""Training steps (forward, loss, backward, optimiser) and predictions, on batches in device memory.

Loading, rotating and moving a batch is not counted; `loading` times that. On GPUs bf16 autocast, and tokens of the next
batch are computed on a separate stream, as in training; on CPUs float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import torch

from benchmark import registry, tasks
from benchmark.contracts import Inputs, OptimConfig, PointBatch
from benchmark.contracts.torch_model import TorchModel
from benchmark.errors import BenchmarkError
from benchmark.perf.measure import free_memory, measure
from benchmark.settings import override
from benchmark.training.ahead import SideStream
from benchmark.training.module import make_optimiser

N_INPUTS = 4
GRADIENT_NORM = 3.0


def step_rows(
    batches: Sequence[PointBatch], models: Sequence[str], preset: str, device: str, warm_up: int = 5, rounds: int = 20,
    say: Callable[[str], None] = lambda text: None, compiled: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per model and stage; `batches` are numpy batches of a point task with labels.

    With `compiled`, the blocks of transformers are compiled, during the warm-up.
    """
    rows = []
    inputs = [batch.to_torch(device) for batch in batches[:N_INPUTS]]
    for name in models:
        spec = registry.model_spec(name)
        for stage in ("pretrain", "finetune", "predict") if spec.pretrains else ("finetune", "predict"):
            say(f"steps: {name}, {stage}")
            held = free_memory(device)
            model = build_model(name, preset, batches[0])
            model.to(device).train()
            parts = list(model.parts_to_compile()) if compiled else []
            for part in parts:
                part.compile(dynamic=True, fullgraph=True)
            trains = stage != "predict"
            step = training_step(model, stage, device) if trains else prediction_step(model, device)
            if trains and device == "cuda":
                step = with_prefetch(step, model, inputs, stage)
            timing = measure(step, inputs, device, warm_up, rounds, held, queued=trains)
            n_events = batches[0].n_events
            rows.append(
                {
                    "model": name, "preset": preset, "stage": stage, "compiled": bool(parts),
                    "backends": ", ".join(sorted(set(model.backends.values()))) or None, "events": n_events,
                    "points": sum(b.n_points for b in batches[:N_INPUTS]) // len(inputs), **timing.row(),
                    "events_per_s": round(1000 * n_events / timing.median_ms, 1),
                }
            )  # fmt: skip
    return rows


def build_model(name: str, preset: str, like: PointBatch) -> TorchModel:
    """A model with random weights for segmentation of liquid-argon events."""
    spec, task = registry.model_spec(name), tasks.task("lartpc-segmentation")
    config = override(spec.config(), spec.preset(preset, "lartpc").model, "model")
    torch.manual_seed(0)
    model = spec.build_model(config, Inputs(like.columns, like.frame), task)
    if not isinstance(model, TorchModel):
        raise BenchmarkError(f"{name} has no training steps. A torch model was expected. Correct --models.")
    return model


def prediction_step(model: TorchModel, device: str) -> Callable[[PointBatch], None]:
    """Scores of a batch, as in evaluation."""
    model.eval()

    def step(batch: PointBatch) -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            model(batch)

    return step


def with_prefetch(
    step: Callable[[PointBatch], None], model: TorchModel, batches: Sequence[PointBatch], stage: str
) -> Callable[[PointBatch], None]:
    """A round that prepares the next batch on a separate stream, then runs the step, as in training.

    It takes the batches in turn and ignores its argument.
    """
    side_stream, cycled = SideStream("cuda"), cycle(batches)
    prepared = [side_stream.prepared(model, next(cycled), stage, 0)]

    def round_(_: PointBatch) -> None:
        prepared.append(side_stream.prepared(model, next(cycled), stage, 0))
        step(prepared.pop(0))

    return round_


def training_step(model: TorchModel, stage: str, device: str) -> Callable[[PointBatch], None]:
    """One optimisation step of AdamW with clipped gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = make_optimiser([{"params": parameters}], OptimConfig(lr=1e-5, weight_decay=0.05))

    def step(batch: PointBatch) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = (model.pretrain_loss if stage == "pretrain" else model.finetune_loss)(batch)[0]
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step
