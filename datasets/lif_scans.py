"""The user's light-sheet scans: a folder with stacks of images and a table of scans.

The table (`scans.csv`, or another CSV or XLSX file) has a row per scan; see docs/lif.md. With a stack of labels per
scan, tracks can be segmented; without, volumes can be reconstructed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec
from benchmark.errors import DataError
from benchmark.io import sha256_text

from ._lif_chain import Chain
from ._lif_table import EXAMPLE, REQUIRED
from ._lif_tiles import LABELS, TASKS, TileDataset, content_of, frame_of, open_tiles

INFO = DatasetInfo(
    name="lif-scans",
    summary="light-sheet scans of your own (TIFF, .npy, HDF5 or Zarr stacks and a table of scans), in tiles",
    licence="that of your data",
    citation="that of your data",
    frame=frame_of((5, 250, 250)),
    energy_unit="robust sigma of the tile",
    tasks=TASKS,
    labels=LABELS,
)


@dataclass(frozen=True)
class Config(Chain):
    """Name of the table, and how scans become tiles. Raises ValueError for values outside their range."""

    table: str = "scans.csv"  # file in the folder: CSV or XLSX

    def __post_init__(self) -> None:
        super().__post_init__()
        if Path(self.table).name != self.table or Path(self.table).suffix.lower() not in (".csv", ".xlsx"):
            raise ValueError(f"table={self.table!r} does not fit. The name of a .csv or .xlsx file was expected.")


def _open(config: Config, root: Path | None) -> TileDataset:
    """The tiles of the scans in a folder. Raises DataError without one."""
    if root is None or not root.is_dir():
        problem = "no folder was given" if root is None else f"there is no folder {root}"
        raise DataError(
            f"{INFO.name} reads your own scans, and {problem}. A folder with the stacks and a table {config.table} "
            f"with the columns {', '.join(REQUIRED)} was expected, for example: {EXAMPLE}. Type --data FOLDER."
        )
    revision = f"own-{sha256_text(content_of(root, config.table))[:12]}"
    return open_tiles(root, INFO, config, revision, config.table)


SPEC = DatasetSpec(info=INFO, config=Config, open=_open, prepare=_open)
