"""A few hundred damaged files of every format: each is read rightly, or refused in one sentence."""

import os
import subprocess
import sys

from builders.paths import ROOT, TESTS
from fuzz.formats import READERS


def test_damaged_files_are_read_rightly_or_refused_in_one_sentence():
    paths = os.pathsep.join([str(ROOT), str(TESTS)])
    command = [sys.executable, "-m", "fuzz", "-n", str(5 * len(READERS)), "--processes", "2", "--seed", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"| all | {5 * len(READERS)} |" in done.stdout
