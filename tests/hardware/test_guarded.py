"""Readers that hang, crash or ask for too much end as one sentence; what they find and refuse comes through."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmark.datasets import _mltree_npy
from benchmark.datasets._calo_pack import event_pack, geometry_pack
from benchmark.datasets._pilarnet import open_pilarnet
from benchmark.datasets.pilarnet_m import INFO
from benchmark.errors import DataError
from benchmark.hardware import guarded as guarded_module
from benchmark.hardware.guarded import guarded
from benchmark.paths import checkout
from builders.calo_files import make_geometry, pions
from builders.pilarnet_files import make_events, write_file

TASKS = """
import os, signal, time
from benchmark.errors import DataError

def add(report, a, b):
    report(1)
    print("what a library prints is no answer")
    return a + b

def refuse(report):
    raise DataError("It is damaged. A whole one was expected. Fetch it again.")

def allocate(report):
    return len(bytes(5 << 30))

def turn(report):
    report(1)
    while True:
        pass

def crash(report):
    os.kill(os.getpid(), signal.SIGSEGV)

def fail(report):
    raise KeyError("a fault of the reader")
"""


@pytest.fixture(autouse=True)
def _few_seconds(monkeypatch):
    monkeypatch.setattr(guarded_module, "SECONDS", 2)


@pytest.fixture
def file(tmp_path, monkeypatch):
    (tmp_path / "tasks_for_guarded.py").write_text(TASKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = tmp_path / "events.h5"
    path.write_bytes(b"events")
    return path


def test_results_and_counts_come_through(file):
    counts = []
    assert guarded("tasks_for_guarded:add", [[1], [2]], [file], counts.append) == [1, 2]
    assert counts == [1]


def test_a_refusal_is_the_readers_own_sentence(file):
    with pytest.raises(DataError, match=r"^It is damaged\. A whole one was expected\. Fetch it again\.$"):
        guarded("tasks_for_guarded:refuse", [], [file])


def test_a_fault_of_the_reader_is_no_fault_of_the_file(file):
    with pytest.raises(RuntimeError, match="KeyError: 'a fault of the reader'"):
        guarded("tasks_for_guarded:fail", [], [file])


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize(
    "task, problem",
    [
        ("allocate", r"its reader needs more than 400 MB of memory, far more than its 6 bytes"),
        ("turn", r"its reader does not come to an end \(stopped after \d+ s of processor time\)"),
        ("crash", r"its reader crashes \(SIGSEGV\)"),
    ],
)
def test_readers_that_do_not_end_well_are_one_sentence(file, task, problem):
    other = file.with_name("first.h5")
    other.write_bytes(b"")
    paths = [other, file] if task == "turn" else [file]  # the second is at fault: the first was reported as done
    with pytest.raises(DataError, match=rf"events\.h5 cannot be read: {problem}\. A whole file was expected\."):
        guarded(f"tasks_for_guarded:{task}", [], paths)


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_the_process_ends_with_its_parent(file):
    call = f"guarded('tasks_for_guarded:turn', [], [Path({str(file)!r})], lambda n: print('turning', flush=True))"
    code = f"from pathlib import Path; from benchmark.hardware.guarded import guarded; {call}"
    with subprocess.Popen([sys.executable, "-c", code], cwd=checkout(), stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"turning\n"
        child = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().strip()
        parent.kill()
    deadline = time.monotonic() + 3  # it would turn for 5 s
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(child)


def _is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_zeroed_heap_is_refused_and_leaves_no_pack(tmp_path):
    """Zero bytes behind the header of a global heap: the HDF5 library looks for an object for ever."""
    path = write_file(tmp_path / "test" / "bad.h5", make_events(np.random.default_rng(3), 3), side_file=False)
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL") + 16
    content[place : place + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.h5.+expected"):
        open_pilarnet(tmp_path, INFO, cache=tmp_path / "packs").events("test")
    assert not (tmp_path / "packs").exists() or not list((tmp_path / "packs").iterdir())


def test_a_dataset_that_claims_more_than_the_file_holds_allocates_nothing(tmp_path):
    path = tmp_path / "test" / "claim.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as h5:
        for name, dtype in (("point", "f4"), ("cluster", "i8")):
            h5.create_dataset(name, (10**12,), dtype=h5py.vlen_dtype(np.dtype(dtype)))
    with pytest.raises(DataError, match=r"claim\.h5.+expected"):
        open_pilarnet(tmp_path, INFO, cache=tmp_path / "packs").events("test")


def laughing(depth, width):
    """`width` ** `depth` items in a pickle of a few hundred bytes: lists that hold one and the same list many times."""
    nested = ["ha"] if width == 2 else [1.0]
    for _ in range(depth):
        nested = [nested] * width
    return nested


def save(path, content):
    path.parent.mkdir(exist_ok=True)
    boxed = np.empty((), dtype=object)
    boxed[()] = content
    np.save(path, boxed, allow_pickle=True)


BRANCHES = ("nCluster", "cluster_E", "cluster_cell_hitsTruthE")  # of depth 0, 1 and 3


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("depth, width", [(60, 2), (3, 1000)], ids=["deep", "wide"])
@pytest.mark.parametrize("branch", [*BRANCHES, "cell_geo_eta"])
def test_a_pickle_of_a_few_bytes_that_stands_for_gigabytes_is_one_sentence(tmp_path, branch, depth, width):
    rng = np.random.default_rng(5)
    geo = make_geometry(rng)
    _mltree_npy.write_geometry(tmp_path / "cell_geo.npy", geo)
    _mltree_npy.write_tree(tmp_path / "test" / "events.npy", pions(rng, geo, 3))
    path = tmp_path / ("cell_geo.npy" if branch.startswith("cell") else "test/events.npy")
    content = np.load(path, allow_pickle=True).item()
    assert branch in content
    small = {name: [] for name in content}
    save(path, {**small, branch: laughing(depth, width)})
    assert path.stat().st_size < 20_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        DataError, match=rf"{path.name} cannot be read: its reader (needs more than|does not come to).* expected\."
    ) as error:
        geometry_pack(path, tmp_path / "packs") if branch.startswith("cell") else event_pack(
            path, geometry_pack(tmp_path / "cell_geo.npy", tmp_path / "packs"), tmp_path / "packs"
        )
    assert str(error.value).isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KB: in this process


def test_files_are_named_from_the_folder_that_the_user_is_in(tmp_path, monkeypatch):
    write_file(tmp_path / "data" / "test" / "generic_v2_2_v2.h5", make_events(np.random.default_rng(1), 2))
    monkeypatch.chdir(tmp_path)
    assert len(open_pilarnet(Path("data"), INFO, cache=tmp_path / "cache").events("test")) == 2
