"""One style per model in every figure and on every page: colour, dashes and marker, which together never repeat.

A name is that of a curve: `polarmae:fft (300 steps)`. The model gives the colour and the marker, the mode the
dashes; several pretexts of a model differ in markers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmark import registry

# between white and black paper, the first ones distinct without red-green vision (Okabe and Ito)
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f", "#7b4fa3", "#17a2a2",
)  # fmt: skip
MARKERS = {  # matplotlib's name -> plotly's
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "X": "x",
    "*": "star", "<": "triangle-left", ">": "triangle-right", "p": "pentagon", "h": "hexagon", "d": "diamond-tall",
}  # fmt: skip
DASHES: tuple[tuple[Any, str], ...] = (  # the same
    ("-", "solid"), ("--", "dash"), (":", "dot"), ("-.", "dashdot"), ((0, (8, 2)), "longdash"),
    ((0, (8, 2, 1, 2)), "longdashdot"),
)  # fmt: skip
MODES = ("fft", "scratch", "peft", "frozen")  # pre-trained networks solid, the others dashed
FAMILIAR = (  # models that most figures show: a colour each
    "polarmae", "gnn", "pointnet2", "transformer", "sparse_uresnet", "ptv3", "deep_sets", "pointnet", "pointmae",
    "set_transformer",
)  # fmt: skip


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn; `marker` and `dash` are positions in MARKERS and DASHES."""

    colour: str
    marker: int
    dash: int

    def line(self, n_points: int = 0) -> dict[str, Any]:
        """Keywords of matplotlib's `plot`. n_points: of a line so dense that only a few of them get a marker."""
        few = {"markevery": max(1, n_points // 6)} if n_points else {}
        dashes = DASHES[self.dash][0]
        return {"color": self.colour, "marker": list(MARKERS)[self.marker], "linestyle": dashes, **few}

    def values(self) -> dict[str, str]:
        """Plain values for a page's plots: plotly's names."""
        return {"colour": self.colour, "symbol": list(MARKERS.values())[self.marker], "dash": DASHES[self.dash][1]}


def method_styles(names: Sequence[str]) -> dict[str, MethodStyle]:
    """The style of each method: the same in every figure, and another one for every method of this one."""
    styles: dict[str, MethodStyle] = {}
    numbers = _numbers({_model(name) for name in names})
    for name in sorted(names):
        number = numbers[_model(name)]
        mode = (re.search(r":(\w+)", name) or ["", "scratch"])[1]
        dash = (MODES.index(mode) if mode in MODES else len(MODES)) + number // len(COLOURS)
        colour, n = COLOURS[number % len(COLOURS)], len(MARKERS)
        candidates = (
            MethodStyle(colour, (number + 4 * step) % n, (dash + step // n) % len(DASHES)) for step in count()
        )
        styles[name] = next(style for style in candidates if style not in styles.values())
    return styles


def _model(name: str) -> str:
    return re.split(r"[+: ]", name, maxsplit=1)[0]


def _numbers(models: Iterable[str]) -> dict[str, int]:
    """A number for each model: its place among the suite's, with the unknown ones of this figure behind."""
    known = [*FAMILIAR, *(name for name in registry.model_names() if name not in FAMILIAR)]
    order: Sequence[str] = [*known, *sorted(set(models) - set(known))]
    return {name: number for number, name in enumerate(order)}


def published_styles(n: int) -> list[MethodStyle]:
    """Styles of n published lines, dashed: they are not the suite's models."""
    return [MethodStyle(COLOURS[i % len(COLOURS)], i % len(MARKERS), 1 + i // len(COLOURS) % 5) for i in range(n)]
