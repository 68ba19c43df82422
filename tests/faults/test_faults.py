"""A short form of `make faults`, and that the harness sees what a fault may not leave."""

import json
import os
import subprocess
import sys

import pytest

from builders.paths import ROOT, TESTS
from faults.check import differs, half_written, left_over, misbehaved
from faults.child import Fault
from faults.scenarios import as_json, as_markdown
from faults.trials import Tally


@pytest.mark.slow
def test_commands_survive_a_few_seeded_moments(tmp_path):
    options = ("-n", "9", "--commands", "pack,run", "--faults", "signals,writers", "--out", str(tmp_path / "r.json"))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"}
    done = subprocess.run(
        [sys.executable, "-m", "faults", *options], env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert sum(row["tried"] for row in rows if "moment" in row["fault"]) == 10
    assert not any(row["failures"] for row in rows)
    assert "| all | | 11 | 11 | 0 |" in done.stdout


def test_half_of_a_file_is_seen(tmp_path):
    (tmp_path / "whole.json").write_text("{}")
    (tmp_path / ".record.json.partial").write_text("{")
    assert not half_written(tmp_path)
    for name, text in (("r.json", "{"), ("w.safetensors", "12"), ("step=1.ckpt", "PK"), ("index.html", "<html>")):
        (tmp_path / name).write_text(text)
    assert len(half_written(tmp_path)) == 4


def test_another_result_a_leftover_a_traceback_and_a_silent_end_are_seen(tmp_path):
    assert differs({"a": 1, "b": 2.0}, {"a": 1, "b": 2.0}) == []
    assert differs({"a": 1, "b": 2}, {"a": 0, "c": 2}) == [f"another result: {name}" for name in "abc"]
    (tmp_path / ".x.json.1.partial").write_text("")
    assert left_over(tmp_path) == ["left over .x.json.1.partial"]
    assert misbehaved("SIGKILL", -9, "") == []
    assert misbehaved("SIGTERM", 143, "stopped by SIGTERM; the same command continues") == []
    assert misbehaved("SIGTERM", 143, "") == ["nothing was said"]
    assert misbehaved("SIGINT", 1, "Traceback (most recent call last):\nKeyError: 1") == [
        "exit code 1",
        "traceback: KeyError: 1",
    ]
    assert misbehaved("ENOSPC", 1, "") == ["exit code 1"]
    assert misbehaved("SIGKILL", None, "") == ["it hung"]


@pytest.mark.parametrize(("kind", "code"), [("SIGKILL", -9), ("ENOSPC", 2), ("none", 0)])
def test_a_fault_happens_at_the_change_of_a_file(tmp_path, kind, code):
    script = (
        "import sys; from pathlib import Path; from faults.child import Child, Fault; import benchmark.cli\n"
        "def main(words):\n"
        "    from benchmark.io import atomic_write_text\n"
        "    try:\n"
        "        atomic_write_text(Path('a'), 'first'); atomic_write_text(Path('b'), 'second')\n"
        "    except benchmark.cli.BenchmarkError:\n"
        "        sys.exit(2)\n"
        "benchmark.cli.main = main\n"
        f"peace = Child((), Path({str(tmp_path / 'peace')!r}), Fault()); peace.wait(60)\n"
        f"fault = Fault({kind!r}, call=peace.n_calls - 1)\n"  # the last change deletes the partial file
        f"print(Child((), Path({str(tmp_path / 'f')!r}), fault).wait(60))"
    )
    (tmp_path / "peace").mkdir()
    (tmp_path / "f").mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(code), done.stderr
    assert (tmp_path / "f" / "a").read_text() == "first"
    assert (tmp_path / "f" / "b").exists() is (kind == "none")


def test_a_fault_says_what_it_is():
    assert str(Fault("SIGKILL", call=7)) == "SIGKILL at change 7 of a file"
    assert str(Fault("SIGTERM", after_s=1.5)) == "SIGTERM at 1.50 s"
    assert str(Fault()) == "none"


def test_trials_of_another_seed_are_added():
    first = json.loads(as_json([Tally("run", "SIGKILL", 3), Tally("site", "twice", 1, ["0.1 s: it hung"])], 9, 1))
    both = json.loads(as_json([Tally("run", "SIGKILL", 2, ["0.2 s: it hung"]), Tally("pack", "full", 1)], 6, 2, first))
    assert both["calls"] == [{"moments": 9, "seed": 1}, {"moments": 6, "seed": 2}]
    assert [(r["command"], r["tried"], r["failures"]) for r in both["rows"]] == [
        ("run", 5, ["seed 2, 0.2 s: it hung"]), ("site", 1, ["seed 1, 0.1 s: it hung"]), ("pack", 1, []),
    ]  # fmt: skip
    assert "| all | | 7 | 5 | 2 |" in as_markdown(both["rows"])
