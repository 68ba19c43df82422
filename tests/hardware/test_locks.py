"""One process at a time: who waits is told so, and a killed process holds nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from benchmark.errors import RecordError
from benchmark.hardware import locks
from benchmark.hardware.locks import locked
from builders.paths import ROOT

HOLDER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmark.hardware.locks import locked
with locked(Path({file!r}), "the run"):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


COUNTER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmark.hardware.locks import locked
count = Path({count!r})
for _ in range(10):
    with locked(Path({file!r}), "the count"):
        n = int(count.read_text())
        time.sleep(0.002)
        count.write_text(str(n + 1))
"""


def start_holder(file, seconds):
    script = HOLDER.format(root=str(ROOT), file=str(file))
    process = subprocess.Popen([sys.executable, "-c", script, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_says_whom_it_waits_for_and_goes_on(tmp_path):
    file = tmp_path / "run" / ".lock"
    holder, said = start_holder(file, 1.0), []
    started = time.monotonic()
    with locked(file, "the run pointnet", said.append):
        assert time.monotonic() - started > 0.5
        assert holder.wait(10) == 0
        assert file.is_file()
    (text,) = said
    assert text.startswith(f"another process ({holder.pid} on ")
    assert text.endswith(") works on the run pointnet: waiting until it has ended")
    assert not file.exists()


def test_a_killed_process_holds_nothing(tmp_path):
    file, said = tmp_path / ".lock", []
    holder = start_holder(file, 600)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    assert file.exists()
    with locked(file, "the run", said.append):
        pass
    assert not said
    assert not file.exists()


def test_many_processes_take_turns(tmp_path):
    count = tmp_path / "count"
    count.write_text("0")
    script = COUNTER.format(root=str(ROOT), file=str(tmp_path / ".lock"), count=str(count))
    started = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) for _ in range(6)]
    assert [process.wait(60) for process in started] == [0] * 6
    assert count.read_text() == "60"


def test_where_the_file_system_has_no_locks_the_block_runs(tmp_path, monkeypatch):
    def refuse(stream, operation):
        raise OSError(locks.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with locked(tmp_path / ".lock", "the run"):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    sentence = r"file could not be written: .*\. A writable folder .* was expected\."
    with pytest.raises(RecordError, match=sentence), locked(tmp_path / "file" / ".lock", "the run"):
        pass
