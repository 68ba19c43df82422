"""A process of a distributed training that dies: the others end with one sentence, and the same command goes on."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from benchmark.records.store import read_records
from builders.paths import TESTS
from builders.synthetic import make_data

# one of two processes; the process `DIES` is killed in a step, or while it is the only one that scores
SCRIPT = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from benchmark.cli import main
from benchmark.evaluation import evaluate
from benchmark.training import fit
place = os.environ.get("DIES", "") if os.environ.get("DIES", "")[:1] == os.environ["RANK"] else ""
def killed_at(original, where):
    def watched(*arguments, **options):
        if where == "score" or arguments[1] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    return watched
if place.endswith("step"):
    fit.training_batch = killed_at(fit.training_batch, "step")
if place.endswith("score"):
    evaluate.check_scores = killed_at(evaluate.check_scores, "score")
main(sys.argv[1:])
"""
RUN = (
    "run", "--model", "pointnet", "--labels", "6", "--preset", "tiny", "--dataset", "pilarnet-m", "--data", "pilarnet",
    "--threads", "1", "--device", "cpu", "--beside", "none", "--set", "preprocess.min_points=0", "--set",
    "train.steps=6", "--set", "train.checkpoint_every=1",
)  # fmt: skip


def two_processes(folder, dies=""):
    """Exit code and standard error of both."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {
        **os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "PARTICLEBENCH_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "DIES": dies,
    }  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *RUN], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"},
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        errors = [process.communicate(timeout=150)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, text) for process, text in zip(started, errors, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(("dies", "told"), [
    ("1 at a step", " 0 of 2 cannot go on after step [23] of the finetune stage: another process of this command "),
    ("0 in a score", " 1 of 2 cannot go on: another process of this command "),
])  # fmt: skip
def test_the_others_end_with_one_sentence_and_the_same_command_goes_on(tmp_path, dies, told):
    make_data(tmp_path)
    ended = two_processes(tmp_path, dies)
    killed = int(dies[0])
    code, text = ended[1 - killed]
    assert ended[killed][0] == -signal.SIGKILL and code == 2, text
    (message,) = (line for line in text.splitlines() if line.startswith("error: "))
    assert re.search(told, message) and "type the same command again" in message
    assert "Traceback" not in text and "gloo" not in text
    if "step" not in dies:
        return
    assert [code for code, _ in two_processes(tmp_path)] == [0, 0]
    (record,), problems = read_records(tmp_path / "runs" / "records")
    assert record.status == "finished" and record.training["steps"] == 6 and not problems
    assert record.training["resumed_at"] in (2, 3)
