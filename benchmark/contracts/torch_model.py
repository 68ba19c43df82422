"""`TorchModel`: the base that most authors derive from. Write `forward`; the shared loop supplies fit and predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.contracts.data import PointBatch
from benchmark.contracts.model import Model
from benchmark.contracts.safetensors_io import read_safetensors, write_safetensors
from benchmark.contracts.task import Task
from benchmark.errors import CheckpointError


class TorchModel(nn.Module, Model):
    """A torch model. All randomness comes from torch's global generator, which the loop seeds anew at every step.

    A subclass sets `self.task` (done by this constructor), implements `forward(batch) -> scores` with (N, n_outputs)
    for a point task or (B, n_outputs) for an event task (of a regression: what is added to `batch.whole.baseline`),
    and, for self-supervision, `pretrain_loss` and `backbone`.
    """

    # In modes `peft` and `frozen`; False keeps a fixed backbone's dropout and running statistics as in training.
    keeps_frozen_backbone_in_evaluation: ClassVar[bool] = True

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        weights = task.class_weights
        self.register_buffer("class_weights", torch.tensor(weights) if weights else None, persistent=False)

    def finetune_loss(self, batch: PointBatch[Tensor]) -> tuple[Tensor, Tensor]:
        """Scalar training loss of a labelled batch, and its scores as `forward` gives them: what a step asks for.

        A model whose loss depends on more of the forward pass than its scores implements this in place of `loss`.
        """
        scores: Tensor = self(batch)
        return self.loss(batch, scores), scores

    def loss(self, batch: PointBatch[Tensor], scores: Tensor) -> Tensor:
        """Scalar loss of the scores of a labelled batch; the task's own unless a model has a published one."""
        from benchmark.contracts.losses import task_loss

        weights = self.get_buffer("class_weights") if self.task.class_weights else None
        return task_loss(self.task, scores, batch, weights)

    def pretrain_loss(self, batch: PointBatch[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar self-supervised loss of an unlabelled batch, and its named parts for the logs."""
        raise NotImplementedError(f"{type(self).__name__} has no self-supervised stage")

    def prepare(self, batch: PointBatch[Tensor], stage: str, generator: torch.Generator) -> Any:
        """What can be made of a batch without any weight, for `stage` (`pretrain` or `finetune`); by default nothing.

        On a GPU training asks for it before the step, on a stream of its own where a wait costs nothing, and hands it
        over as `batch.prepared`; elsewhere nobody asks. `generator`, on the batch's device, is the only source of
        random numbers.
        """
        return None

    def backbone(self) -> Iterable[nn.Module]:
        """Modules whose weights pre-training gives. Modes `peft` and `frozen` keep them fixed, in evaluation mode."""
        return ()

    def parts_to_compile(self) -> Iterable[nn.Module]:
        """Alike parts that `torch.compile` makes one graph of, for every batch; by default none."""
        return ()

    def pretraining_only(self) -> Iterable[nn.Module]:
        """Modules that only `pretrain_loss` uses (decoder, mask token); they take no part in supervised training."""
        return ()

    def fit(self, batches: Iterator[PointBatch[np.ndarray]], task: Task) -> None:
        """Not used: torch models are trained by `benchmark.training`."""
        raise NotImplementedError("torch models are trained by the shared loop, benchmark.training.fit")

    @torch.inference_mode()
    def predict(self, batch: PointBatch) -> np.ndarray:
        """Scores of a batch in evaluation mode, on the device of the model's parameters."""
        self.eval()
        moved = batch.to_torch(next(self.parameters()).device)
        scores = self(moved).float()
        if self.task.kind == "regression" and moved.whole.baseline is not None:
            scores = scores + moved.whole.baseline[:, None]
        return np.asarray(scores.cpu().numpy())

    @property
    def n_parameters(self) -> int:
        """Number of parameters that prediction uses (the pre-training decoder not counted)."""
        unused = {id(p) for module in self.pretraining_only() for p in module.parameters()}
        return sum(p.numel() for p in self.parameters() if id(p) not in unused)

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the state as safetensors with metadata, atomically."""
        write_safetensors(path, self.state_dict(), {"model": type(self).__name__, **metadata})

    def load(self, path: Path) -> Mapping[str, str]:
        """Read a checkpoint of exactly this architecture."""
        state, metadata = read_safetensors(path)
        self._check(path, state, self.state_dict())
        self.load_state_dict(state)
        return metadata

    def load_backbone(self, path: Path) -> Mapping[str, str]:
        """Read only the backbone's weights from a (pre-training) checkpoint of the same architecture."""
        state, metadata = read_safetensors(path)
        own = self._state_of(self.backbone())
        wanted = {k: v for k, v in state.items() if k in own}
        self._check(path, wanted, own)
        self.load_state_dict(wanted, strict=False)
        return metadata

    def save_pretrained(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write what pre-training gives: the backbone and what only pre-training uses, without the head."""
        write_safetensors(path, self._pretrained_state(), {"model": type(self).__name__, **metadata})

    def load_pretrained(self, path: Path) -> Mapping[str, str]:
        """Read what `save_pretrained` wrote, strictly. The head, which such files lack, stays as it is."""
        state, metadata = read_safetensors(path)
        own = self._pretrained_state()
        head = set(self.state_dict()) - set(own)
        wanted = {k: v for k, v in state.items() if k not in head}
        self._check(path, wanted, own)
        self.load_state_dict(wanted, strict=False)
        return metadata

    def _pretrained_state(self) -> dict[str, Tensor]:
        return self._state_of((*self.backbone(), *self.pretraining_only()))

    def _state_of(self, modules: Iterable[nn.Module]) -> dict[str, Tensor]:
        owned = {id(t) for m in modules for t in (*m.parameters(), *m.buffers())}
        return {k: v for k, v in self.state_dict(keep_vars=True).items() if id(v) in owned}

    def _check(self, path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Any]) -> None:
        missing = sorted(set(expected) - set(found))
        extra = sorted(set(found) - set(expected))
        shapes = [k for k in expected if k in found and found[k].shape != expected[k].shape]
        if not (missing or extra or shapes):
            return
        what = next(
            text
            for bad, text in (
                (missing, f"lacks {len(missing)} tensors (first: {missing[:1]})"),
                (extra, f"holds {len(extra)} unknown tensors (first: {extra[:1]})"),
                (shapes, f"has other shapes in {len(shapes)} tensors (first: {shapes[:1]})"),
            )
            if bad
        )
        raise CheckpointError(
            f"The checkpoint {path} {what}. A checkpoint of {type(self).__name__} with the same configuration was "
            f"expected. Give the checkpoint's own --model, --preset and --set values."
        )
