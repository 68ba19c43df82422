"""`TokenModel`: a torch model that splits an event into tokens, as probes and studies need it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from benchmark.contracts.data import PointBatch
from benchmark.contracts.torch_model import TorchModel


@dataclass(frozen=True)
class TokenFeatures:
    """The T tokens of a batch, event after event, and their M points. A point may be in several tokens or in none."""

    lengths: tuple[int, ...]  # tokens of each event, sum T
    centres: Tensor  # (T, 3) float32, in the unit of `PointBatch.coords`
    features: Tensor  # (T, D) float32, the encoder's last output with every token visible
    token: Tensor  # (M,) int64 token of each member
    point: Tensor  # (M,) int64 row of each member in the batch


@dataclass(frozen=True)
class Reconstruction:
    """A masked autoencoder's prediction of an event's hidden tokens."""

    tokens: TokenFeatures  # encoder features, zero for hidden tokens
    hidden: Tensor  # (T,) bool
    token: Tensor  # (P,) int64 hidden token of each predicted point
    coords: Tensor  # (P, 3) float32, in the unit of `PointBatch.coords`
    log_energy: Tensor | None  # (P,) float32 predicted energy channel, or None where the model has none


class TokenModel(TorchModel):
    """A torch model on tokens. All three methods run in evaluation mode without gradients, on the model's device."""

    @abstractmethod
    def token_features(self, batch: PointBatch[Tensor]) -> TokenFeatures:
        """Tokens of a batch with the features of the encoder, all tokens visible."""

    @abstractmethod
    def attention(self, batch: PointBatch[Tensor], layer: int) -> list[Tensor]:
        """Attention weights of one encoder block (0-based): (heads, n, n) per event, rows (queries) sum to 1."""

    @abstractmethod
    def reconstruct(self, batch: PointBatch[Tensor], seed: int = 0) -> Reconstruction:
        """Hide a share of the tokens, chosen by `seed`, and predict their points."""
