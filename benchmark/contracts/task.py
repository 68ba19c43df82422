"""The task contract: what is predicted, from which labels, and how it is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Task:
    """What every model of a benchmark is asked, and how the answer is scored.

    A task's version goes up whenever its counting changes: scores of different versions never share a table.
    """

    name: str
    version: int
    summary: str
    data: Literal["points", "volumes"]  # kind of input
    level: Literal["point", "token", "event", "volume"]  # token: which classes its points have, read by a probe
    kind: Literal["classification", "regression"]
    label: str  # name of the label in `Event.labels`
    classes: tuple[str, ...] = ()
    drop_classes: tuple[int, ...] = ()  # points of these label values are removed before the model sees the event
    primary_metric: str = "macro_f1"
    class_weights: tuple[float, ...] | None = None  # of the training loss, one per class
    ignore_index: int = -1
    weight_column: str | None = None  # points counted with this weight, e.g. "energy"
    reference: str = ""

    @property
    def is_labelled_by_point(self) -> bool:
        """Whether the label is one per point, not one per event."""
        return self.level in ("point", "token")

    @property
    def n_outputs(self) -> int:
        """Scores per point or event."""
        return len(self.classes) if self.kind == "classification" else 1
