"""Files of weights: equal content gives equal bytes, and a changed byte anywhere is found."""

import os
import re

import pytest
import torch

from benchmark.contracts.safetensors_io import CHECKSUM, read_metadata, read_safetensors, write_safetensors
from benchmark.errors import CheckpointError

STATE = {"b.weight": torch.arange(12.0).reshape(3, 4), "a": torch.tensor([1, 2]), "c": torch.ones(5, dtype=torch.bool)}
METADATA = {f"name {i}": f"text {i} \u00e9 {{}}" for i in range(30)}


def test_what_is_written_is_read(tmp_path):
    write_safetensors(tmp_path / "w.safetensors", STATE, METADATA)
    state, metadata = read_safetensors(tmp_path / "w.safetensors")
    assert {k: v for k, v in metadata.items() if k != CHECKSUM} == METADATA
    assert set(state) == set(STATE)
    assert all(torch.equal(state[k], v) and state[k].dtype == v.dtype for k, v in STATE.items())


def test_equal_content_gives_equal_bytes(tmp_path):
    contents = set()
    for i in range(5):
        shuffled = dict(list(METADATA.items())[i:] + list(METADATA.items())[:i])
        write_safetensors(tmp_path / f"{i}.safetensors", dict(reversed(STATE.items())) if i % 2 else STATE, shuffled)
        contents.add((tmp_path / f"{i}.safetensors").read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize(("old", "new"), [(b"text 7", b"text 8"), (b'name 3"', b'nome 3"')])
def test_a_changed_byte_of_the_description_is_found(tmp_path, old, new):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, STATE, METADATA)
    content = path.read_bytes()
    assert len(re.findall(re.escape(old), content)) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(CheckpointError, match=r"damaged: its description does not have its checksum\. .*expected"):
        read_safetensors(path)


@pytest.mark.parametrize("read", [read_safetensors, read_metadata])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_folder_is_refused_and_not_waited_for(read, make, tmp_path):
    make(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"could not be read \(it is no file\)"):
        read(tmp_path / "w.safetensors")
