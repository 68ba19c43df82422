"""Names, ticks, legends and files of figures, shared by all of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.io import atomic_path
from benchmark.packages import missing_error

DPI = 160
LONGEST_NAME = 48  # in a legend or title


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


def require_methods(methods: Mapping[str, Any], name: str) -> None:
    """Raises BenchmarkError where there is nothing to draw."""
    if not methods:
        raise BenchmarkError(f"There are no {name}. At least one method was expected. Choose records to draw.")


def short_name(name: str, most: int = LONGEST_NAME) -> str:
    """A name on one line, its middle left out where it is long."""
    text = " ".join(name.split())
    return text if len(text) <= most else f"{text[: most // 2]}...{text[3 - most // 2 :]}"


def shown_name(name: str, most: int = LONGEST_NAME) -> str:
    """A name as matplotlib's legends and titles show it: short, and no formula."""
    return short_name(name, most).replace("$", r"\$")


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
    width, height = figure.get_size_inches()
    columns = max(1, min(n_methods, int(width / (0.8 + 0.07 * max(map(len, handles))))))
    figure.set_size_inches(width, height + 0.19 * -(-len(handles) // columns))  # panels keep their height
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=columns, frameon=False, fontsize=9,
        handlelength=3.4,
    )  # fmt: skip
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG atomically and close the figure."""
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
    pyplot().close(figure)
