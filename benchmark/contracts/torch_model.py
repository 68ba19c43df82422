"""`TorchModel`: the base class of most models. Write `forward`; the shared loop supplies fit and predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """A torch model. All randomness comes from torch's global generator, which the loop reseeds at every step.

    A subclass sets `self.task` (done by this constructor), implements `forward(batch) -> scores` with (N, n_outputs)
    for a point task or (B, n_outputs) for an event task (of a regression: what is added to `batch.whole.baseline`),
    and, for self-supervision, `pretrain_loss` and `backbone`.
    """

    # In modes `peft` and `frozen`; False keeps a fixed backbone's dropout and running statistics as in training.
    keeps_frozen_backbone_in_evaluation: ClassVar[bool] = True
    feature_width: int = 0  # channels of `point_features`; 0: the model has none

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        weights = task.class_weights
        self.register_buffer("class_weights", torch.tensor(weights) if weights else None, persistent=False)

    def finetune_loss(self, batch: PointBatch[Tensor]) -> tuple[Tensor, Tensor]:
        """Scalar training loss of a labelled batch, and its scores from `forward`; called in each training step.

        Override this instead of `loss` where the loss depends on more of the forward pass than its scores.
        """
        scores: Tensor = self(batch)
        return self.loss(batch, scores), scores

    def loss(self, batch: PointBatch[Tensor], scores: Tensor) -> Tensor:
        """Scalar loss of the scores of a labelled batch; the task's loss unless a model overrides it."""
        from benchmark.contracts.losses import task_loss

        weights = self.get_buffer("class_weights") if self.task.class_weights else None
        return task_loss(self.task, scores, batch, weights)

    def pretrain_loss(self, batch: PointBatch[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar self-supervised loss of an unlabelled batch, and its named parts for the logs."""
        raise NotImplementedError(f"{type(self).__name__} has no self-supervised stage")

    def point_features(self, batch: PointBatch[Tensor]) -> Tensor:
        """(N, feature_width) features of points, from the backbone alone: what a pretext trains."""
        raise NotImplementedError(f"{type(self).__name__} has no features of points")

    @property
    def place_width(self) -> int:
        """Channels of `place_features`."""
        return self.feature_width

    def place_features(self, batch: PointBatch[Tensor]) -> tuple[Tensor, Tensor]:
        """(M, place_width) features that a pretext compares between views, and (N,) the row of each point in them.

        By default those of the points. A backbone that merges points may give coarser ones, as its publication does.
        """
        features = self.point_features(batch)
        return features, torch.arange(len(features), device=features.device)

    def before_step(self, progress: float) -> None:
        """Called before each step, with the share of the steps done; by default nothing."""
        return None

    def after_step(self, progress: float) -> None:
        """Called after each step, with the share of the steps done; by default nothing."""
        return None

    def prepare(self, batch: PointBatch[Tensor], stage: str, generator: torch.Generator) -> Any:
        """Preparation of a batch that needs no weights, for `stage` (`pretrain` or `finetune`); by default none.

        On a GPU, training calls it before the step on a separate stream and passes the result as `batch.prepared`; on
        a CPU it is not called. `generator`, on the batch's device, is the only source of random numbers.
        """
        return None

    def backbone(self) -> Iterable[nn.Module]:
        """Modules with pre-trained weights. Modes `peft` and `frozen` keep them fixed, in evaluation mode."""
        return ()

    def parts_to_compile(self) -> Iterable[nn.Module]:
        """Identical modules to compile with `torch.compile`; by default none."""
        return ()

    def backbone_layers(self) -> Sequence[nn.Module]:
        """Parts of the backbone from input to output, whose learning rates may fall with depth; by default none."""
        return ()

    def pretraining_only(self) -> Iterable[nn.Module]:
        """Modules that only `pretrain_loss` uses (decoder, mask token); not used in supervised training."""
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
        """Number of parameters that prediction uses (without the pre-training decoder)."""
        unused = {id(p) for module in self.pretraining_only() for p in module.parameters()}
        return sum(p.numel() for p in self.parameters() if id(p) not in unused)

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the state as safetensors with metadata, atomically."""
        write_safetensors(path, self.state_dict(), {"model": type(self).__name__, **metadata})

    def load(self, path: Path) -> Mapping[str, str]:
        """Read a checkpoint of exactly this architecture."""
        state, metadata = read_safetensors(path)
        self._check_state(path, state, self.state_dict())
        self.load_state_dict(state)
        return metadata

    def load_backbone(self, path: Path) -> Mapping[str, str]:
        """Read only the backbone's weights from a (pre-training) checkpoint of the same architecture."""
        state, metadata = read_safetensors(path)
        expected = self.backbone_state()
        backbone_state = {k: v for k, v in state.items() if k in expected}
        self._check_state(path, backbone_state, expected)
        self.load_state_dict(backbone_state, strict=False)
        return metadata

    def save_pretrained(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the backbone and the modules that only pre-training uses, without the head."""
        write_safetensors(path, self._pretrained_state(), {"model": type(self).__name__, **metadata})

    def load_pretrained(self, path: Path) -> Mapping[str, str]:
        """Read what `save_pretrained` wrote, strictly. The head, which is not in the file, is unchanged."""
        state, metadata = read_safetensors(path)
        expected = self._pretrained_state()
        head = set(self.state_dict()) - set(expected)
        pretrained_state = {k: v for k, v in state.items() if k not in head}
        self._check_state(path, pretrained_state, expected)
        self.load_state_dict(pretrained_state, strict=False)
        return metadata

    def backbone_state(self) -> dict[str, Tensor]:
        """Those entries of the state dict that belong to the backbone."""
        return self._module_state(self.backbone())

    def _pretrained_state(self) -> dict[str, Tensor]:
        return self._module_state((*self.backbone(), *self.pretraining_only()))

    def _module_state(self, modules: Iterable[nn.Module]) -> dict[str, Tensor]:
        owned = {id(t) for m in modules for t in (*m.parameters(), *m.buffers())}
        return {k: v for k, v in self.state_dict(keep_vars=True).items() if id(v) in owned}

    def _check_state(self, path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Any]) -> None:
        missing = sorted(set(expected) - set(state))
        extra = sorted(set(state) - set(expected))
        shapes = [k for k in expected if k in state and state[k].shape != expected[k].shape]
        if not (missing or extra or shapes):
            return
        problem = next(
            text
            for names, text in (
                (missing, f"lacks {len(missing)} tensors (first: {missing[:1]})"),
                (extra, f"holds {len(extra)} unknown tensors (first: {extra[:1]})"),
                (shapes, f"has other shapes in {len(shapes)} tensors (first: {shapes[:1]})"),
            )
            if names
        )
        raise CheckpointError(
            f"The checkpoint {path} {problem}. A checkpoint of {type(self).__name__} with the same configuration was "
            f"expected. Give the checkpoint's own --model, --preset and --set values."
        )
