"""A pretext on a backbone as one torch model, which the shared loop trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from benchmark.contracts.data import PointBatch
from benchmark.contracts.safetensors_io import write_safetensors
from benchmark.contracts.torch_model import TorchModel


class Pretext(nn.Module, ABC):
    """The self-supervised loss of a backbone's features, with the modules that it needs besides (predictor, teacher).

    All randomness comes from torch's global generator, which the loop reseeds at every step.
    """

    @abstractmethod
    def loss(self, model: TorchModel, batch: PointBatch[Tensor], progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss of a batch of views, and its named parts for the logs. progress: share of the steps done."""

    def after_step(self, model: TorchModel, progress: float) -> None:
        """Called after each step of the optimiser, for example to move a teacher; by default nothing."""
        return None

    def not_trained(self) -> Iterable[nn.Module]:
        """Modules without gradients, such as a teacher; by default none."""
        return ()


class PretextTraining(TorchModel):
    """A model and a pretext. Of the weights only the model's backbone is written."""

    def __init__(self, model: TorchModel, pretext: Pretext) -> None:
        super().__init__(model.task)
        self.model, self.pretext = model, pretext
        self.progress = 0.0  # share of the steps done
        for module in pretext.not_trained():
            module.requires_grad_(False)

    def before_step(self, progress: float) -> None:
        """See TorchModel."""
        self.progress = progress

    def after_step(self, progress: float) -> None:
        """See TorchModel."""
        self.pretext.after_step(self.model, progress)

    def pretrain_loss(self, batch: PointBatch[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See TorchModel."""
        return self.pretext.loss(self.model, batch, self.progress)

    def backbone(self) -> Iterable[nn.Module]:
        """See TorchModel."""
        return self.model.backbone()

    def pretraining_only(self) -> Iterable[nn.Module]:
        """See TorchModel."""
        return (self.pretext,)

    def backbone_layers(self) -> Sequence[nn.Module]:
        """See TorchModel."""
        return self.model.backbone_layers()

    def parts_to_compile(self) -> Iterable[nn.Module]:
        """See TorchModel."""
        return self.model.parts_to_compile()

    def save_pretrained(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the backbone's weights under the model's own names."""
        write_safetensors(path, self.model.backbone_state(), {"model": type(self.model).__name__, **metadata})
