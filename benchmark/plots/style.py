"""Colours, line styles and figure files, shared by all figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.io import atomic_path
from benchmark.packages import missing_error

DPI = 160
DASHES = ("-", "--", ":")
MARKERS = ("o", "s", "^", "D", "v")
COLOURS = ("#d1495b", "#30638e", "#edae49", "#00798c", "#999999")  # distinct without red-green vision


def pyplot() -> Any:
    """matplotlib.pyplot that draws into files. Raises BenchmarkError without matplotlib."""
    require_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def require_matplotlib() -> None:
    """Raises BenchmarkError without matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_error("matplotlib", "A picture") from error


def load_backend_in_notebook() -> None:
    """Let a notebook show figures made without pyplot, as `%matplotlib inline` does; elsewhere nothing happens."""
    if "IPython" in sys.modules:
        import matplotlib.pyplot as plt

        # the first call of this kind loads the backend, which tells IPython of figures
        plt.draw_if_interactive()  # type: ignore[no-untyped-call]


def require_methods(methods: Mapping[str, np.ndarray], name: str) -> None:
    """Raises BenchmarkError where there is nothing to draw."""
    if not methods:
        raise BenchmarkError(f"There are no {name}. At least one method was expected. Choose records to draw.")


def method_style(number: int) -> dict[str, Any]:
    """Colour and dashes of the method with this number."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
        "linewidth": 1.8,
    }


def plain_ticks(axis: Any) -> None:
    """10 and 0.1 instead of powers of ten on a logarithmic axis."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def finish_figure(figure: Any, labelled: Any, n_methods: int, path: Path, axes: Sequence[Any] = ()) -> None:
    """Add the legend below the panels, remove right and upper spines, and write the file."""
    for axis in figure.axes:
        axis.spines[["right", "top"]].set_visible(False)
        axis.grid(color="#eeeeee", linewidth=0.8)
        axis.set_axisbelow(True)
    handles: dict[str, Any] = {}
    for axis in (labelled, *axes):
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.align_ylabels()
    columns = min(n_methods, 4 if max(map(len, handles)) < 25 else 2)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns, frameon=False)
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG atomically and close the figure."""
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
    pyplot().close(figure)
