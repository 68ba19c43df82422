"""The harness notices every way to fail; damage is a function of the seed; tables add up."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmark.errors import DataError
from builders.paths import ROOT, TESTS
from fuzz import report
from fuzz.formats import READERS
from fuzz.reader import Reader, digest
from fuzz.runner import Outcome, changes_of, damage, generator_of, kind_of, try_one

# readers of a text that does to its process what the text says, in processes of their own
SCRIPT = """
import os, sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from benchmark.errors import DataError
import numpy as np
from fuzz import runner
from fuzz.reader import Reader
runner.LIMIT_S, runner.LIMIT_BYTES = 2.0, 50 << 20

def make(folder):
    (folder / "a").write_text("fine")

def read(folder, what):
    if (folder / "a").read_text() == "fine":
        return 1
    if what == "hang":
        time.sleep(60)
    if what == "crash":
        os.abort()
    if what == "memory":
        return len(b"x" * (60 << 20))
    if what == "flood":
        return len(np.empty(1 << 42))
    raise DataError("It is damaged. " + "A whole one was expected.")

def changed(path, rng):
    path.write_text("damaged")

def reader(what):
    return Reader(what, make, "a", lambda folder: read(folder, what), {{"values": changed}}, only_own=True)

readers = [reader(what) for what in ("hang", "crash", "memory", "flood", "refused")]
for o in runner.run(readers, {{r.name: [0] for r in readers}}, 1, Path({folder!r}), 2):
    print(o.reader, o.kind, o.result, o.note, sep="|")
"""


def test_hangs_crashes_and_floods_of_memory_are_outcomes(tmp_path):
    script = SCRIPT.format(root=str(ROOT), tests=str(TESTS), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    found = {line.split("|")[0]: line.split("|")[1:] for line in done.stdout.splitlines()}
    assert found["hang"] == ["values", "failed", "not read after 2 s"]
    assert found["crash"] == ["values", "failed", "the process died: SIGABRT"]
    assert found["memory"][:2] == ["values", "failed"] and "MiB more" in found["memory"][2]
    assert found["flood"][1] == "failed" and "MemoryError" in found["flood"][2]
    assert found["refused"] == ["values", "refused", "It is damaged. A whole one was expected."]


def plain_reader(answer, **kind):
    def read(folder):
        return 1 if (folder / "a").read_bytes() == b"fine" else answer()

    def changed(path, rng):
        path.write_bytes(rng.bytes(4))

    return Reader("plain", lambda folder: None, "a", read, {"values": changed}, only_own=True, **kind)


class Raw(DataError):
    """An error whose message holds what the others write out."""

    def __str__(self):
        return "Two\nlines."


def raises(error):
    def answer():
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "sealed", "result"),
    [(lambda: 1, True, "same"), (lambda: 2, False, "other"), (lambda: 2, True, "failed"),
     (raises(DataError("One line.")), True, "refused"), (raises(DataError("Two\nlines.")), True, "refused"),
     (raises(DataError("\x1b[31mred")), True, "refused"), (raises(Raw()), True, "failed"),
     (raises(KeyError("x")), False, "failed")],
)  # fmt: skip
def test_what_counts_as_failed(tmp_path, monkeypatch, answer, sealed, result):
    valid = tmp_path / "valid"
    valid.mkdir()
    (valid / "a").write_bytes(b"fine")
    monkeypatch.chdir(tmp_path)
    assert try_one(plain_reader(answer, is_sealed=sealed), valid, digest(1), 1, 0).result == result


@pytest.mark.parametrize("name", ["mltree-npy", "published", "scans-csv", "tile-sizes"])
def test_damage_is_a_function_of_reader_seed_and_index(tmp_path, name):
    reader = next(r for r in READERS if r.name == name)
    contents = []
    for copy in ("one", "other"):
        for index in range(30):
            folder = tmp_path / copy / str(index)
            folder.mkdir(parents=True)
            reader.make(folder)
            kind = damage(reader, folder, 7, index)
            assert kind == kind_of(reader, generator_of(reader, 7, index)) and kind in changes_of(reader)
        files = sorted(p for p in (tmp_path / copy).glob(f"*/{reader.targets}") if p.is_file() and not p.is_symlink())
        contents.append([(p.relative_to(tmp_path / copy), p.read_bytes()) for p in files if p.stat().st_size < 10**6])
    assert contents[0] == contents[1] and len({content for _, content in contents[0]}) > 15


def test_values_are_compared_to_the_last_bit():
    values = {"a": np.arange(3.0), "b": [1, "x", None]}
    assert digest(values) == digest({"b": [1, "x", None], "a": np.arange(3.0)})
    others = (
        {**values, "a": np.arange(3)},
        {**values, "b": [1, "x", 0]},
        {"a": np.arange(3.0)},
        {**values, "b": [[1], "x"]},
    )
    assert len({digest(v) for v in (values, *others)}) == 5


def test_tables_add_up():
    outcomes = [
        Outcome("a", 0, "k", "same"),
        Outcome("a", 1, "l", "failed", "why"),
        Outcome("b", 0, "k", "refused", ""),
    ]
    assert "| all | 3 | 1 | 0 | 1 | 1 |" in report.table(report.counts(outcomes, "reader"), "file")
    values = json.loads(json.dumps(report.as_values(outcomes, 3, 1.0)))
    assert values["tried"] == 3 and values["readers"]["a"]["failed"] == 1 and values["failures"][0]["note"] == "why"


def test_repeated_failures_move_to_what_became_of_them():
    outcomes = [Outcome("a", 0, "k", "failed", "why"), Outcome("a", 1, "k", "same"), Outcome("b", 0, "l", "failed")]
    values = json.loads(json.dumps(report.as_values(outcomes, 3, 1.0)))
    after = report.repeated(values, [Outcome("a", 0, "k", "refused", "A sentence."), Outcome("b", 0, "l", "failed")])
    assert after["readers"] == {
        "a": {"same": 1, "other": 0, "refused": 1, "failed": 0}, "b": {"same": 0, "other": 0, "refused": 0, "failed": 1}
    }  # fmt: skip
    assert after["kinds"]["k"]["failed"] == 0 and after["tried"] == 3
    assert [f["reader"] for f in after["failures"]] == ["b"] and len(values["failures"]) == 2


def test_names_of_readers_are_unique():
    assert len({reader.name for reader in READERS}) == len(READERS)
