"""Workers end with their parent, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builders.paths import ROOT

SCRIPT = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmark.hardware.workers import Task, run_tasks

def work(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    list(run_tasks([Task("one", {pid!r}, Path({log!r}))], work, 1))
"""


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked for it on Linux only")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_with_its_parent(tmp_path, number):
    pid, script = tmp_path / "pid", tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT), pid=str(pid), log=str(tmp_path / "log")))
    parent = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while not (pid.is_file() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    worker = int(pid.read_text())
    assert is_running(worker)
    os.kill(parent.pid, number)
    parent.wait(30)
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(worker)
