"""Set Transformer: attention among the points of a set, through a few learnt points for large sets.

Lee et al., "Set Transformer: A Framework for Attention-based Permutation-Invariant Neural Networks", ICML 2019
(arXiv:1810.00825). Blocks of section 3: MAB(X, Y) is attention of X to Y and a perceptron, each added and normed;
SAB(X) = MAB(X, X); ISAB(X) = MAB(X, MAB(I, X)) with m learnt points I, which costs N m instead of N^2; PMA pools a set
into k rows by attention of learnt seeds. Tasks of points read each row of the last block by a linear map, those of
events read the PMA's rows.

`paper` is the classifier of point clouds (authors' code): two ISAB of 256 channels, 4 heads and 16 learnt points, PMA
with one seed, dropout of 50% around it, Adam at 0.001, 64 sets per step; the layer norm is section 3's, absent in that
code. For calorimeters `paper` follows the set transformer with which ATLAS regressed the energy of single pions from
their track and clusters (public code ML4PIONS_GRAPH): 27 channels, 5 heads of 4, perceptrons of 20, 5 blocks, PMA with
2 seeds, then 40-20-10-5-3 channels; AdamW at 0.001, 100 events per step, 100 epochs of 300,000 events. An element of a
set there is a cluster or a track, with 8 and 19 variables and thus 27 channels; here it is a cell, and a linear map
makes the channels. Blocks are SAB; there is one encoder instead of four; absolute errors are averaged, not summed;
layer norms, not stated there, are section 3's.

Sets of similar size are padded to one batch; padded keys are masked, so padding changes no score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.heads import PointModel, with_event_feats
from benchmark.ops.host_tables import to_device

from ._sets import check_waves, waves, whole_events

PADDED_SHARE = 1.3  # maximum ratio of set sizes that are padded together


@dataclass(frozen=True)
class SetTransformerConfig:
    """Sizes of blocks, pooling and read-out, and inputs."""

    width: int = 64  # channels of a point
    heads: int = 2  # of attention
    head_width: int = 0  # channels of a head; 0: width / heads
    hidden: int = 128  # channels inside a block's perceptron
    blocks: int = 2  # one after the other
    inducing: int = 16  # learnt points through which attention goes (ISAB); 0: all points attend to all (SAB)
    norm: str = "before"  # layer norm before attention and perceptron (steadier) | after: as published
    seeds: int = 2  # rows that a set is pooled into, of event tasks
    head_widths: tuple[int, ...] = (64,)  # layers after the pooling
    dropout: float = 0.0  # before and after the pooling, of event tasks
    waves: int = 8  # sines and cosines of each coordinate, with wavelengths in geometric progression; 0: none
    wavelengths: tuple[float, float] = (4.0, 128.0)  # shortest and longest, in coordinate units
    unit: float = 0.0  # coordinates are about the frame's centre, over this length; 0: about the centroid, standardised

    def __post_init__(self) -> None:
        least = {"width": 1, "heads": 1, "head_width": 0, "hidden": 1, "blocks": 1, "inducing": 0, "seeds": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. A number from {low} on was expected.")
        if not self.head_width and self.width % self.heads:
            raise ValueError(f"width={self.width} does not divide into heads={self.heads}. A multiple was expected.")
        if self.norm not in ("before", "after"):
            raise ValueError(f"norm={self.norm!r} is not known. One of before, after was expected.")
        if self.head_widths and min(self.head_widths) < 1:
            raise ValueError(f"head_widths={self.head_widths} are not possible. Numbers from 1 on were expected.")
        if not (self.unit >= 0 and 0 <= self.dropout < 1):
            raise ValueError(
                f"unit={self.unit} with dropout={self.dropout} is not possible. A length from 0 on, and a share below "
                f"1, were expected."
            )
        check_waves(self.waves, self.wavelengths)


class MAB(nn.Module):
    """Rows attend to a context, then a perceptron; both residual (equations 6 and 7)."""

    def __init__(self, c: SetTransformerConfig) -> None:
        super().__init__()
        self.heads, self.norm_first = c.heads, c.norm == "before"
        inside = c.heads * (c.head_width or c.width // c.heads)
        self.query = nn.Linear(c.width, inside)
        self.key_value = nn.Linear(c.width, 2 * inside)
        self.project = nn.Linear(inside, c.width)
        self.norm1, self.norm2 = nn.LayerNorm(c.width), nn.LayerNorm(c.width)
        self.norm_others = nn.LayerNorm(c.width) if self.norm_first else nn.Identity()
        self.perceptron = nn.Sequential(nn.Linear(c.width, c.hidden), nn.ReLU(), nn.Linear(c.hidden, c.width))

    def forward(self, x: Tensor, context: Tensor, present: Tensor | None) -> Tensor:
        """(S, n, width) from x (S, n, width) and context (S, m, width), of which `present` (S, m) exist."""
        if not self.norm_first:
            x = self.norm1(x + self._attend(x, context, present))
            published: Tensor = self.norm2(x + self.perceptron(x))
            return published
        x = x + self._attend(self.norm1(x), self.norm_others(context), present)
        result: Tensor = x + self.perceptron(self.norm2(x))
        return result

    def _attend(self, x: Tensor, context: Tensor, present: Tensor | None) -> Tensor:
        query = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (S, heads, n, d)
        key, value = self.key_value(context).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if present is None else present[:, None, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        projected: Tensor = self.project(mixed.transpose(1, 2).flatten(2))
        return projected


def learnt_rows(n: int, width: int) -> nn.Parameter:
    """(n, width) points or seeds that are learnt."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(n, width)))


class SAB(nn.Module):
    """All points attend to all."""

    def __init__(self, c: SetTransformerConfig) -> None:
        super().__init__()
        self.mab = MAB(c)

    def forward(self, x: Tensor, present: Tensor | None) -> Tensor:
        """(S, n, width) in and out; present (S, n)."""
        mixed: Tensor = self.mab(x, x, present)
        return mixed


class ISAB(nn.Module):
    """Learnt points attend to the set, then the set to them."""

    def __init__(self, c: SetTransformerConfig) -> None:
        super().__init__()
        self.inducing = learnt_rows(c.inducing, c.width)
        self.gather, self.spread = MAB(c), MAB(c)

    def forward(self, x: Tensor, present: Tensor | None) -> Tensor:
        """(S, n, width) in and out; present (S, n)."""
        gathered = self.gather(self.inducing.expand(len(x), -1, -1), x, present)
        mixed: Tensor = self.spread(x, gathered, None)
        return mixed


class PooledByAttention(nn.Module):
    """Scores of events: learnt seeds attend to the points (PMA, equation 11), then a perceptron on their rows."""

    def __init__(self, c: SetTransformerConfig, n_outputs: int, n_event_features: int) -> None:
        super().__init__()
        self.n_event_features = n_event_features
        self.dropout = nn.Dropout(c.dropout)
        self.enter = nn.Sequential(nn.Linear(c.width, c.hidden), nn.ReLU(), nn.Linear(c.hidden, c.width))
        self.seeds = learnt_rows(c.seeds, c.width)
        self.mab = MAB(c)
        layers: list[nn.Module] = []
        widths = (c.seeds * c.width + n_event_features, *c.head_widths)
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.1)]  # 3 channels of a plain ReLU may all be dead
        self.perceptron = nn.Sequential(*layers, nn.Linear(widths[-1], n_outputs))

    def forward(self, features: Tensor, lengths: Tensor, event_feats: Tensor | None) -> Tensor:
        """(B, n_outputs) from features (N, width), whose rows belong to B events of the given lengths (B,)."""
        features = self.enter(self.dropout(features))
        pooled = features.new_zeros(len(lengths), self.seeds.numel())
        for sets, rows, present in pad_sets(lengths):
            dense = features[rows]
            seeds = self.mab(self.seeds.expand(len(sets), -1, -1), dense, present)
            pooled = pooled.index_copy(0, sets, seeds.flatten(1).to(pooled.dtype))
        scores: Tensor = self.perceptron(with_event_feats(self.dropout(pooled), self.n_event_features, event_feats))
        return scores


def pad_sets(lengths: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Sets of similar size, padded: their numbers (S,), rows (S, n) of their points, and which of those exist (S, n).

    Rows beyond a set's end repeat its last one; the mask is None where there are none.
    """
    first = lengths.cumsum(0) - lengths
    for chosen in group_by_size(lengths.tolist()):
        sets = to_device(chosen, torch.int64, lengths.device)
        set_lengths = lengths[sets, None]
        slot = torch.arange(int(set_lengths.max()), device=lengths.device).expand(len(chosen), -1)
        present = slot < set_lengths
        rows = first[sets, None] + torch.minimum(slot, set_lengths - 1)
        yield sets, rows, None if bool(present.all()) else present


def group_by_size(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of the sets that have points, in groups of similar size, longest first."""
    groups: list[list[int]] = []
    for i in sorted((i for i, n in enumerate(lengths) if n), key=lambda i: -lengths[i]):
        if groups and lengths[groups[-1][0]] <= max(PADDED_SHARE * lengths[i], 8):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


class SetTransformer(PointModel):
    """Coordinates, waves and features of a point, blocks of attention, and the read-out of the task."""

    head: nn.Module

    def __init__(self, config: SetTransformerConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        c = config
        self.config = c
        inputs = self.expand_inputs(inputs)
        self.enter = nn.Linear(3 + 6 * c.waves + inputs.n_features, c.width)
        self.blocks = nn.ModuleList((ISAB if c.inducing else SAB)(c) for _ in range(c.blocks))
        self.norm = nn.LayerNorm(c.width) if c.norm == "before" else nn.Identity()
        self.feature_width = c.width
        if task.level == "event":
            self.head = PooledByAttention(c, task.n_outputs, self.n_event_features)
        else:
            self.add_head(c.width)

    def features(self, batch: PointBatch) -> Tensor:
        """(N, width) output of the last block for each point."""
        c = self.config
        sets = whole_events(batch, c.unit or "deviation")
        x = self.enter(torch.cat([sets.xyz, waves(sets.xyz * sets.radius, c.waves, c.wavelengths), sets.feats], dim=1))
        mixed = torch.empty_like(x)
        for _, rows, present in pad_sets(batch.lengths):
            dense = x[rows]
            for block in self.blocks:
                dense = block(dense, present)
            flat_rows, values = (
                (rows.flatten(), dense.flatten(0, 1)) if present is None else (rows[present], dense[present])
            )
            mixed = mixed.index_copy(0, flat_rows, values.to(mixed.dtype))
        features: Tensor = self.norm(mixed)
        return features


def build(config: SetTransformerConfig, inputs: Inputs, task: Task) -> SetTransformer:
    """The model for given inputs and task."""
    return SetTransformer(config, inputs, task)


# The axis of a cluster or track is the frame's: coordinates stay about it. A strip of EMB1 is 0.125 units wide.
# Samples of some hundred cells need no learnt points between them: all attend to all.
_CALORIMETER: dict[str, Any] = {"unit": 8.0, "wavelengths": (0.5, 64.0), "waves": 4, "inducing": 0}

SPEC = ModelSpec(
    name="set_transformer",
    summary="Attention among points through a few learnt ones, and pooling by attention (Lee et al. 2019)",
    config=SetTransformerConfig,
    build=build,
    presets={
        "default": Preset(optim={"lr": 1e-3, "weight_decay": 1e-4}),
        "tiny": Preset(
            model={"width": 16, "heads": 2, "hidden": 32, "blocks": 2, "inducing": 4, "head_widths": (16,)},
            optim={"lr": 2e-3, "weight_decay": 1e-4},
        ),
        "paper": Preset(
            model={
                "width": 256, "heads": 4, "hidden": 256, "blocks": 2, "norm": "after", "seeds": 1, "head_widths": (),
                "dropout": 0.5, "waves": 0,
            },
            optim={
                "optimiser": "adam", "lr": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant",
                "clip_norm": 0.0,
            },
            train={"batch_size": 64},
        ),
    },
    levels=("point", "event"),
    has_point_features=True,
    kinds=("classification", "regression"),
    detector_presets={
        "calorimeter": {
            "default": Preset(model=_CALORIMETER),
            "tiny": Preset(model=_CALORIMETER),
            "paper": Preset(
                model={
                    "unit": 8.0, "width": 27, "heads": 5, "head_width": 4, "hidden": 20, "blocks": 5, "inducing": 0,
                    "seeds": 2, "head_widths": (40, 20, 10, 5, 3), "dropout": 0.0,
                },
                optim={"optimiser": "adamw", "weight_decay": 0.01},
                train={"rotation": "none", "batch_size": 100, "steps": 300_000},
            ),
        }
    },
    reference="arXiv:1810.00825, section 3",
)  # fmt: skip
