"""`VolumeModel`: a torch model that splits a volume into tokens on a grid, as studies need it."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from benchmark.contracts.data import PointBatch
from benchmark.contracts.torch_model import TorchModel


class VolumeModel(TorchModel):
    """A torch model on volumes. All three methods run in evaluation mode without gradients, on the model's device."""

    @abstractmethod
    def token_features(self, batch: PointBatch[Tensor]) -> Tensor:
        """(B, Tz, Ty, Tx, D) float32 features of the encoder, every token visible."""

    @abstractmethod
    def attention(self, batch: PointBatch[Tensor], layer: int) -> Tensor:
        """(B, heads, T, T) attention weights of one encoder layer (0-based), every token visible; rows sum to 1."""

    @abstractmethod
    def reconstruct(self, batch: PointBatch[Tensor], seed: int = 0) -> tuple[Tensor, Tensor]:
        """Hide a share of the tokens, chosen by `seed`, and predict them.

        (B, Z, Y, X) float32 predicted at hidden tokens and unchanged elsewhere, and hidden tokens (B, Tz, Ty, Tx) bool.
        """
