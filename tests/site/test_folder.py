"""A site takes the place of an earlier one in one step."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from benchmark.errors import DataError
from benchmark.site import folder as module
from benchmark.site.folder import new_folder
from builders.paths import ROOT

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmark.site.folder import new_folder
with new_folder(Path({target!r})) as folder:
    (folder / "page").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def write(target, text):
    with new_folder(target) as folder:
        (folder / "page").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_whole_and_nothing_is_left(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(module, "_exchanged", lambda one, two: False)
    for text in ("first", "second"):
        write(tmp_path / "site", text)
        assert (tmp_path / "site" / "page").read_text() == text
        assert names(tmp_path) == ["site"]


def test_a_reader_finds_the_earlier_folder_until_the_new_one_is_whole(tmp_path):
    write(tmp_path / "site", "first")
    with new_folder(tmp_path / "site") as folder:
        (folder / "page").write_text("second")
        assert (tmp_path / "site" / "page").read_text() == "first"
    assert (tmp_path / "site" / "page").read_text() == "second"


def test_what_a_killed_process_left_is_deleted_by_the_next(tmp_path):
    write(tmp_path / "site", "first")
    script = KILLED.format(root=str(ROOT), target=str(tmp_path / "site"))
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert (tmp_path / "site" / "page").read_text() == "first"
    assert len(names(tmp_path)) == 2
    write(tmp_path / "site", "second")
    assert names(tmp_path) == ["site"]


def test_killed_between_two_renames_the_earlier_folder_is_taken_back(tmp_path):
    write(tmp_path / ".site.earlier", "first")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "site"):
        raise ZeroDivisionError
    assert (tmp_path / "site" / "page").read_text() == "first"
    assert names(tmp_path) == ["site"]


def test_a_failure_keeps_the_earlier_folder_and_a_full_disk_is_one_sentence(tmp_path):
    write(tmp_path / "site", "first")
    sentence = r"site could not be written: No space left.*the earlier one is as it was"
    with pytest.raises(DataError, match=sentence), new_folder(tmp_path / "site"):
        raise OSError(28, "No space left on device")
    assert (tmp_path / "site" / "page").read_text() == "first"
    assert names(tmp_path) == ["site"]


def test_permissions_are_those_that_the_user_asks_for(tmp_path):
    before = os.umask(0o077)
    try:
        write(tmp_path / "site", "first")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "site").stat().st_mode) == 0o700
