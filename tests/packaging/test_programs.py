"""Programs of the documents besides the suite's own: files, modules and options exist; benchmarks are collected."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys

import pytest
import torch

from builders.paths import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BENCHMARKS = sorted((ROOT / "tests" / "benchmarks").glob("bench_*.py"))
SUITE, PYTEST = ["python", "-m", "benchmark"], ["python", "-m", "pytest"]
MADE_BY_THE_READER = ("path/to/my_deep_sets.py",)


def programs():
    """(file, words) of every command that starts with `python`, but for the suite's, fenced or within a text."""
    for path in (*DOCUMENTS, *BENCHMARKS):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^(?:\$ | {4})?(python3? .*)$", text, re.MULTILINE) + re.findall(
            r"`(python3? [^`]*)`", text
        )
        for line in lines:
            words = shlex.split(line, comments=True)
            if words[:3] != SUITE and len(words) > 1:
                yield pytest.param(words, id=f"{path.name}: {line[:80]}")


PROGRAMS = list(programs())


def test_the_tests_see_the_programs():
    shown = {" ".join(p.values[0][:2]) for p in PROGRAMS}
    assert {"python tests/benchmarks/bench_sparse.py", "python -m"} <= shown
    assert len(PROGRAMS) > 12


@pytest.mark.parametrize("words", PROGRAMS)
def test_files_and_modules_of_a_program_exist(words):
    assert words[1] == "-m" or (ROOT / words[1]).is_file()
    if words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None
    for word in words[2:]:
        if word.startswith("tests/"):
            assert (ROOT / word.partition("::")[0]).exists()


def declared(words):
    """The options that a program declares: it is run with --help."""
    start = words[1:3] if words[1] == "-m" else words[1:2]
    done = subprocess.run([sys.executable, *start, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"--[a-z][a-z-]*", done.stdout))


@pytest.mark.slow
def test_options_of_the_programs_exist():
    by_program = {}
    for parameter in PROGRAMS:
        words = parameter.values[0]
        if words[:3] != PYTEST:
            key = tuple(words[1:3] if words[1] == "-m" else words[1:2])
            by_program.setdefault(key, (words, set()))[1].update(re.findall(r"--[a-z][a-z-]*", " ".join(words)))
    for words, options in by_program.values():
        if options:
            assert options <= declared(words), words


@pytest.mark.slow
def test_every_benchmark_is_collected_with_the_options_that_the_documents_give_it():
    typed = [p.values[0][3:] for p in PROGRAMS if p.values[0][:3] == PYTEST]
    options = sorted({w for words in typed for w in words if w.startswith("--benchmark")})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}  # of a worker of these tests
    done = subprocess.run([*command, *map(str, BENCHMARKS)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert {p.name for p in BENCHMARKS} == {name.rpartition("/")[2] for name in collected}


def test_the_implementations_that_docs_compare_agree():
    """`python tests/benchmarks/bench_sparse.py`, in its shortest form: a small network on a few voxels."""
    spec = importlib.util.spec_from_file_location("bench_sparse", ROOT / "tests/benchmarks/bench_sparse.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    coords = bench.events(n_events=2, n_voxels=60, size=64)
    torch.manual_seed(0)
    net, head = bench.UResNet(1, 4, 2, 1, bench.Norms(1e-4, 0.01, 0.33)), bench.nn.Linear(4, 5)
    every = bench.engines()
    assert {"native", "prototype", "autograd"} <= set(every)
    reference = bench.once(every["native"], coords, net, head, "forward")
    for engine in every.values():
        scores = bench.once(engine, coords, net, head, "forward+backward")
        torch.testing.assert_close(scores, reference, atol=1e-4, rtol=1e-4)
