"""Folders of simulated data: a file that was changed afterwards is refused, whatever the detector."""

import shutil

import pytest

from benchmark.errors import DataError
from builders.tiny_datasets import make


@pytest.mark.parametrize("name", ["calo-sim", "lartpc-sim", "lif-sim"])
def test_a_changed_file_is_refused_and_named(name, tmp_path):
    made = make(name, tmp_path / "first")
    folder = tmp_path / "copy"
    shutil.copytree(made.folder, folder)
    assert made.again(folder).revision == made.dataset.revision
    path = max((p for p in folder.rglob("*") if p.is_file() and "test" in str(p)), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name} has been changed since it was simulated.*expected\. Delete"):
        made.again(folder)
