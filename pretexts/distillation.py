"""Self-distillation: a student sees hidden and small views and predicts what its slow teacher says of large ones.

Teacher and student give every point a distribution over learnt prototypes. The teacher is the moving average of the
student; its scores are balanced over the prototypes by Sinkhorn-Knopp, so that not all points choose one. Three losses:
the masked large views against the same views of the teacher; the masked large views against the teacher's other large
view, at points that lie close together in the event; the small views against the first large one, at such points.

Caron et al. (DINO, arXiv:2104.14294), Zhou et al. (iBOT, arXiv:2111.07832), Oquab et al. (DINOv2, arXiv:2304.07193);
for points Wu et al. (Sonata, arXiv:2503.16429) and, on PILArNet-M, Panda (arXiv:2512.01324), whose settings are those
of `paper`. Sinkhorn-Knopp: Caron et al. (SwAV, arXiv:2006.09882), section 3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contracts import Inputs, PointBatch, TorchModel
from benchmark.contracts.pretext import HIDDEN, PretextPreset, PretextSpec
from benchmark.contracts.pretext_training import Pretext
from benchmark.errors import BenchmarkError
from benchmark.ops.batch_norm import several_processes, summed
from benchmark.pretexts._views import (
    GLOBAL,
    Places,
    Rescale,
    ViewConfig,
    cut_views,
    hidden_cubes,
    matches,
    places,
    some_views,
)

CHECK_EVERY = 50  # steps between two looks for a collapse, which wait for a GPU


@dataclass(frozen=True)
class DistillationConfig(ViewConfig):
    """Views, masks, heads and targets. Lengths are in coordinate units."""

    mask_cube: tuple[float, float] = (6.0, 24.0)  # edge of the hidden cubes, at first and after the warm-up
    mask_ratio: tuple[float, float] = (0.3, 0.6)  # share of a view's cubes that is hidden, the same
    mask_jitter: float = 0.5  # standard deviation of a further displacement of hidden points
    warmup: float = 0.05  # share of the steps in which masks and temperature rise linearly
    match_radius: float = 2.0  # points of two views match where they are this close in the event
    head_width: int = 256  # hidden channels of the heads
    bottleneck: int = 64  # channels of the normalised embedding
    prototypes: int = 256  # fewer than a quarter of the points of a step
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)  # at first and after the warm-up
    sinkhorn_rounds: int = 3
    momentum: tuple[float, float] = (0.99, 1.0)  # of the teacher, at first and at last, as a cosine
    own_weight: float = 0.25  # of the loss against the same view
    other_weight: float = 0.25  # against the other large view
    local_weight: float = 0.5  # of small views
    least_spread: float = 0.02  # of the embeddings, below which training stops as collapsed

    def __post_init__(self) -> None:
        self._check_views()
        ranges = {
            "mask_cube": min(self.mask_cube) > 0, "mask_ratio": all(0 < r < 1 for r in self.mask_ratio),
            "match_radius": self.match_radius > 0, "student_temperature": self.student_temperature > 0,
            "teacher_temperature": min(self.teacher_temperature) > 0, "sinkhorn_rounds": self.sinkhorn_rounds > 0,
            "momentum": all(0 <= m <= 1 for m in self.momentum), "warmup": 0 <= self.warmup <= 1,
            "prototypes": self.prototypes > 1, "bottleneck": self.bottleneck > 0, "head_width": self.head_width > 0,
        }  # fmt: skip
        for name, is_possible in ranges.items():
            if not is_possible:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. A value in its range was expected.")


def make_views(
    config: DistillationConfig, batch: PointBatch[np.ndarray], progress: float,
    rngs: Sequence[np.random.Generator], rescale: Rescale | None = None,
) -> PointBatch[np.ndarray]:  # fmt: skip
    """Large and small views; `views.hidden` are the points that the student does not see in its large views."""
    views = cut_views(config, batch, rngs, rescale)
    grown = min(1.0, progress / config.warmup) if config.warmup else 1.0
    cube, ratio = (low + grown * (high - low) for low, high in (config.mask_cube, config.mask_ratio))
    hidden = np.zeros(views.n_points, bool)
    for view in range(config.n_global * batch.n_events):
        begin, end = views.offsets[view : view + 2]
        rng = rngs[view // config.n_global]
        hidden[begin:end] = hidden_cubes(views.coords[begin:end], cube, ratio, rng)
    return replace(views, views=replace(views.views, hidden=hidden))


class Head(nn.Module):
    """From features to scores of prototypes: perceptron, normalised embedding, cosine with each prototype."""

    def __init__(self, width: int, hidden: int, bottleneck: int, n_prototypes: int) -> None:
        super().__init__()
        self.perceptron = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.empty(n_prototypes, bottleneck))
        for linear in (self.perceptron[0], self.perceptron[2]):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def embed(self, features: Tensor) -> Tensor:
        """(n, bottleneck) of norm 1."""
        return functional.normalize(self.perceptron(features.float()), dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_prototypes) cosines."""
        return self.embed(features) @ functional.normalize(self.prototypes, dim=1).T


class Distillation(Pretext):
    """Teacher, heads, and the three losses."""

    def __init__(self, config: DistillationConfig, model: TorchModel, inputs: Inputs) -> None:
        super().__init__()
        c = self.config = config
        sizes = model.place_width, c.head_width, c.bottleneck, c.prototypes
        self.heads = nn.ModuleDict({"masked": Head(*sizes), "local": Head(*sizes)})
        self.teacher = without_dropout(copy.deepcopy(model))
        self.teacher_heads = copy.deepcopy(self.heads)
        self.n_steps = 0
        self.spread: Tensor | None = None  # of the last step's embeddings

    def not_trained(self) -> Iterable[nn.Module]:
        """See Pretext."""
        return self.teacher, self.teacher_heads

    def loss(self, model: TorchModel, batch: PointBatch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See Pretext; the parts are the three losses and the signs of a collapse."""
        c, n_large, n_views = self.config, int((batch.views.kind == GLOBAL).sum()), batch.n_events
        large = some_views(batch, 0, n_large)
        masked = places(model, hide(large, c.mask_jitter))
        with torch.no_grad():
            clean = places(self.teacher, large)
            temperature = self._rising(c.teacher_temperature, progress)
            targets = {
                name: sinkhorn(head(clean.features), temperature, c.sinkhorn_rounds)
                for name, head in self.teacher_heads.items()
                if name == "masked" or n_views > n_large
            }
        scores = self.heads["masked"](masked.features)
        own, same = self._against(masked, clean, scores, targets["masked"], partner=lambda view: view)
        other, _ = self._against(masked, clean, scores, targets["masked"], partner=self._other_view)
        parts = {"own": own, "other": other}
        if n_views > n_large:
            small = places(model, some_views(batch, n_large, n_views))
            local_scores = self.heads["local"](small.features)
            parts["local"], _ = self._against(small, clean, local_scores, targets["local"], partner=self._first_view)
        weights = {"own": c.own_weight, "other": c.other_weight, "local": c.local_weight}
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return total, {**parts, **self._signs(masked.features, scores, targets["masked"], same)}

    def after_step(self, model: TorchModel, progress: float) -> None:
        """Moves the teacher. Raises BenchmarkError where all points have become alike."""
        low, high = self.config.momentum
        momentum = high - (high - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        for ours, theirs in ((self.teacher, model), (self.teacher_heads, self.heads)):
            old, new = list(ours.parameters()), [p.detach() for p in theirs.parameters()]
            torch._foreach_mul_(old, momentum)
            torch._foreach_add_(old, new, alpha=1 - momentum)
        self.n_steps += 1
        if self.n_steps % CHECK_EVERY == 0 and progress > self.config.warmup and self.spread is not None:
            self._check_spread(float(self.spread))

    def _check_spread(self, spread: float) -> None:
        if spread < self.config.least_spread:
            raise BenchmarkError(
                f"The pre-training has collapsed: the embeddings of all points are alike (spread {spread:.4f}). A "
                f"spread above pretext.least_spread={self.config.least_spread} was expected. Lower the learning rate, "
                f"for example with --set pretrain_optim.lr=3e-4, or raise --set pretext.momentum=0.996,1."
            )

    def _rising(self, ends: tuple[float, float], progress: float) -> float:
        grown = min(1.0, progress / self.config.warmup) if self.config.warmup else 1.0
        return ends[0] + grown * (ends[1] - ends[0])

    def _other_view(self, view: int) -> int:
        """The next large view of the same event."""
        n = self.config.n_global
        return view // n * n + (view + 1) % n

    def _first_view(self, view: int) -> int:
        """The first large view of a small view's event."""
        return view // self.config.n_local * self.config.n_global

    def _against(
        self, student: Places, teacher: Places, scores: Tensor, targets: Tensor, partner: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Cross-entropy at matching places, a mean per view and then over views; and all pairs of rows.

        Views without a match are left out. `partner(view)` is the teacher's view that a student's is compared with.
        """
        pairs, losses = [], []
        log_probabilities = functional.log_softmax(scores / self.config.student_temperature, dim=1)
        for view in range(int(student.view.max()) + 1):
            mine, theirs = student.rows(view), teacher.rows(partner(view))
            near, row = matches(student.coords[mine], teacher.coords[theirs], self.config.match_radius)
            if len(near):
                pairs.append((mine[near], theirs[row]))
                losses.append(-(targets[theirs[row]] * log_probabilities[mine[near]]).sum(dim=1).mean())
        if not losses:
            none = torch.zeros(0, dtype=torch.int64, device=scores.device)
            return scores.sum() * 0, (none, none)
        return torch.stack(losses).mean(), (torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs]))

    @torch.no_grad()
    def _signs(
        self, features: Tensor, scores: Tensor, targets: Tensor, same: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        """Entropy of the student's mean assignment over log K, share of prototypes in use, agreement, and spread.

        agreement: share of places where student and teacher prefer the same prototype. spread: root mean square
        distance of the embeddings from their mean; 0 where all are alike, 1 where they are spread evenly.
        """
        mean = functional.softmax(scores / self.config.student_temperature, dim=1).mean(dim=0)
        entropy = -(mean * mean.clamp(min=1e-12).log()).sum() / math.log(len(mean))
        chosen = torch.bincount(scores.argmax(dim=1), minlength=len(mean))
        agreement = (scores.argmax(dim=1)[same[0]] == targets.argmax(dim=1)[same[1]]).float().mean()
        embedded = self.heads["masked"].embed(features)  # type: ignore[operator]
        self.spread = (embedded - embedded.mean(dim=0)).square().sum(dim=1).mean().sqrt()
        return {
            "entropy": entropy, "in_use": (chosen > 0).float().mean(), "agreement": agreement, "spread": self.spread,
        }  # fmt: skip


def hide(batch: PointBatch[Tensor], jitter: float) -> PointBatch[Tensor]:
    """The batch with its hidden points displaced and without features, and the column HIDDEN."""
    hidden = batch.views.hidden
    assert hidden is not None  # made by `make_views`
    column = batch.columns.index(HIDDEN)
    feats = batch.feats.masked_fill(hidden[:, None], 0.0).clone()
    feats[:, column] = hidden.to(feats.dtype)
    shift = jitter * torch.randn_like(batch.coords) * hidden[:, None]
    energy = batch.energy.masked_fill(hidden, 0.0)
    return replace(batch, coords=batch.coords + shift, energy=energy, feats=feats)


@torch.no_grad()
def sinkhorn(scores: Tensor, temperature: float, rounds: int) -> Tensor:
    """(n, K) assignments of n points from scores (n, K), about n / K points to each prototype; rows sum to 1.

    Rows and columns of exp(scores / temperature) are scaled in turn, `rounds` times (SwAV, section 3), over the points
    of all processes.
    """
    assigned = ((scores - 1) / temperature).exp_()  # cosines are at most 1
    for _ in range(rounds):
        per_prototype = assigned.sum(dim=0, dtype=torch.float64)
        total = summed(per_prototype) if several_processes() else per_prototype
        assigned *= total.clamp(min=1e-30).reciprocal().to(assigned.dtype)
        assigned /= assigned.sum(dim=1, keepdim=True).clamp(min=1e-30)
    return assigned


def without_dropout(model: nn.Module) -> nn.Module:
    """The model in training mode, so that its batch norms see the batch, with all dropout and stochastic depth off."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "drop_path", None), float):
            module.drop_path = 0.0  # type: ignore[assignment]
    return model


def build(config: DistillationConfig, model: TorchModel, inputs: Inputs) -> Distillation:
    """The pretext of a model."""
    return Distillation(config, model, inputs)


_OPTIM: dict[str, Any] = {"lr": 2e-3, "weight_decay": 0.04}
# The calorimeter's axes are not alike: clusters stay about their axis, and columns do not follow an energy scale.
_CALORIMETER: dict[str, Any] = {
    "motion": "mirror", "energy_jitter": 0.0, "jitter": 0.05, "jitter_limit": 0.2, "match_radius": 0.5,
    "mask_cube": (2.0, 4.0), "mask_jitter": 0.1,
}  # fmt: skip

SPEC = PretextSpec(
    name="distillation",
    summary="Self-distillation of points: a student predicts its slow teacher's prototypes (DINO; Sonata; Panda)",
    config=DistillationConfig,
    build=build,
    make_views=make_views,
    presets={
        # Sharper targets than published ones: as good on validation events after 400 steps as the published after 900.
        "default": PretextPreset(
            pretext={"teacher_temperature": (0.04, 0.04), "prototypes": 128}, pretrain={"steps": 1500}, optim=_OPTIM
        ),
        "tiny": PretextPreset(
            pretext={"head_width": 16, "bottleneck": 8, "prototypes": 16, "least_spread": 0.0}, optim=_OPTIM
        ),
        # The settings of Panda; 1 voxel is 0.0015035 of its normalised unit, its grid 0.001 of it.
        "paper": PretextPreset(
            pretext={
                "n_local": 6,
                "mask_cube": (6.6511, 49.8836),
                "mask_ratio": (0.5, 0.9),
                "mask_jitter": 0.3326,
                "head_width": 4096,
                "bottleneck": 256,
                "prototypes": 4096,
                "momentum": (0.994, 1.0),
            },
            # 100 epochs of 1,000,000 events
            pretrain={"steps": 2_083_333, "batch_size": 48, "events": 1_000_000},
            optim={
                "lr": 2.6e-3,
                "weight_decay": 0.04,
                "warmup_fraction": 0.05,
                "final_lr_fraction": 1e-3,
                "clip_norm": 3.0,
                "decay": "everything",
                "final_weight_decay": 0.2,
                "layer_decay": 0.9,
            },
        ),
    },
    detector_presets={
        "calorimeter": {name: PretextPreset(pretext=_CALORIMETER) for name in ("default", "tiny", "paper")}
    },
    reference="arXiv:2512.01324; arXiv:2503.16429; arXiv:2104.14294; arXiv:2006.09882",
)
