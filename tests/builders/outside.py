"""Datasets outside the suite: one that brings a task along, and that of CONTRIBUTING."""

import re
from pathlib import Path

from builders.paths import ROOT

DATASET = '''
"""A dataset outside the suite."""

from dataclasses import dataclass

from benchmark.contracts import DatasetInfo, DatasetSpec, Frame, Task
from benchmark.data.preprocess import Preprocess


@dataclass(frozen=True)
class Config:
    """Settings."""


def own(name):
    return Task(
        name=name, version=1, summary="Mine", data="points", level="point", kind="classification", label="kind",
        classes=("a", "b"), detector="mine", dataset="my-events",
    )


INFO = DatasetInfo(
    name="my-events", summary="", licence="", citation="", frame=Frame((0, 0, 0), 1.0, (1, 1, 1), "mm"),
    energy_unit="MeV", tasks=("my-task",), labels={"kind": "0 a, 1 b"},
)
SPEC = DatasetSpec(
    INFO, Config, open=lambda c, root: None, prepare=lambda c, root: None,
    own_tasks=(own("my-task"), own("lartpc-segmentation")), preparation=lambda task: Preprocess(min_points=3),
)
'''


def contributed(root: Path, *changes: tuple[str, str]) -> Path:
    """CONTRIBUTING's dataset as a file, with these texts replaced."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
    (text,) = (block for block in blocks if "DatasetInfo(" in block)
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = root / "my_npz.py"
    path.write_text(text)
    return path
