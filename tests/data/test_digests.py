"""Digests of files are taken once, of regular files alone, and a damaged note of one is not believed."""

import json
import os

import pytest

from benchmark.data.digests import file_digest
from benchmark.errors import DataError
from benchmark.io import sha256_file


@pytest.mark.parametrize("what", ["device", "pipe", "loop", "absent", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, own_cache, what):
    path = tmp_path / "a"
    if what == "device":
        path.symlink_to("/dev/zero")
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to("a")
    elif what == "folder":
        path.mkdir()
    with pytest.raises(DataError, match=r"cannot be read: .* A readable file was expected"):
        file_digest(path)


@pytest.mark.parametrize("damage", ["digest", "check", "nested", "list"])
def test_a_damaged_note_is_made_again(tmp_path, own_cache, damage):
    path = tmp_path / "a"
    path.write_bytes(b"events")
    assert file_digest(path) == sha256_file(path)
    (note,) = (own_cache / "digests").iterdir()
    entry = json.loads(note.read_text())
    texts = {"digest": json.dumps({**entry, "digest": "0" * 64}), "check": json.dumps({**entry, "check": 1}),
             "nested": "[" * 100_000, "list": "[1]"}  # fmt: skip
    note.write_text(texts[damage])
    assert file_digest(path) == sha256_file(path)
    assert json.loads(note.read_text()) == entry
