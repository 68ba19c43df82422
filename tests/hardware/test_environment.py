"""What is said of the machine, and how device, precision and threads are chosen."""

import json
import os
import subprocess

import pytest
import torch

from benchmark.errors import ConfigError
from benchmark.hardware import environment
from benchmark.hardware.available import backends
from benchmark.hardware.machine import set_up_torch

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    environment.limit_thread_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert int(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 1024
    for name, value in (("OMP_WAIT_POLICY", "ACTIVE"), ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024")):
        monkeypatch.setenv(name, value)
        environment.limit_thread_spinning()
        assert os.environ[name] == value


@pytest.mark.parametrize(("asked", "cores"), [("1", 1), ("100000", CORES), ("0", 1), ("", CORES), ("many", CORES)])
def test_usable_cores_respect_affinity_and_the_users_limit(monkeypatch, asked, cores):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert environment.usable_cores() == cores


@pytest.mark.parametrize("threads", [0, -1])
def test_a_number_of_threads_below_one_is_refused(threads):
    with pytest.raises(ConfigError, match=f"--threads {threads} is not possible.*expected"):
        set_up_torch(threads)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert environment.choose_device("auto") == environment.choose_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"--device cuda is not possible.*expected.*--device cpu"):
        environment.choose_device("cuda")
    with pytest.raises(ConfigError, match=r"--device 'tpu' is not known. One of auto, cpu, cuda was expected"):
        environment.choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert environment.choose_device("auto") == environment.choose_device("cuda") == "cuda"
    assert environment.choose_device("cpu") == "cpu"


def test_precision_follows_the_device_unless_asked_for():
    assert environment.choose_precision("32", "cuda") == "32"
    assert environment.choose_precision("bf16", "cpu") == "bf16"
    assert environment.choose_precision("auto", "cuda") == "bf16"
    assert environment.choose_precision("auto", "cpu") == "32"


def test_the_description_of_the_machine_is_complete_and_plain():
    described = environment.describe_machine("cpu", "32", 1)
    assert json.loads(json.dumps(described)) == described
    assert described["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert {"python", "numpy", "numba", "lightning", "particlebench"} <= set(described["versions"])
    assert described["device_name"]


def test_memory_is_measured_in_bytes():
    assert 50e6 < environment.peak_memory_bytes("cpu") < 1e12


def test_a_tree_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "checkout", lambda: tmp_path)
    assert environment.commit() == {"commit": None, "dirty": None}


def test_records_and_runs_do_not_make_the_tree_dirty_but_code_does(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    code = tmp_path / "benchmark" / "environment.py"
    code.parent.mkdir()
    code.write_text("x = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "start")
    monkeypatch.setattr(environment, "checkout", lambda: tmp_path)
    assert environment.commit()["dirty"] is False
    assert len(environment.commit()["commit"]) == 40
    for folder in ("leaderboards", "runs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "new.json").write_text("{}")
    assert environment.commit()["dirty"] is False
    code.write_text("x = 2\n")
    assert environment.commit()["dirty"] is True


def test_every_missing_backend_says_why_and_what_to_type(monkeypatch):
    monkeypatch.setattr("benchmark.packages.find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    reasons = {b.name: b.available() for b in backends()}
    assert reasons.pop("cpu") is None
    assert "pip install 'huggingface_hub>=0.24'" in reasons["huggingface_hub"]
    assert {"uproot", "zarr", "openpyxl"} <= set(reasons)
    assert all(reasons.values())


@pytest.mark.parametrize(("version", "usable"), [("3.2.0", False), ("3.3.0", True), ("3.10.1+git", True)])
def test_an_old_triton_is_told_before_a_kernel_fails_in_it(version, usable, monkeypatch):
    pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")
    from benchmark.hardware import kernels

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kernels.metadata, "version", lambda name: version)
    reason = kernels.missing()
    assert reason is None if usable else "triton 3.2.0 is older than 3.3: install torch 2.7 or newer" in reason
