"""What all tests share: one thread each, a cache of their own, tiny events in the PILArNet HDF5 schemas."""

import os

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"  # before numpy, numba or torch is imported


import numba  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

import benchmark.compiled  # noqa: E402, F401  (machine code is shared with the user's cache: compiling takes a minute)
from builders.paths import ROOT  # noqa: E402
from builders.pilarnet_files import make_events, write_folder  # noqa: E402

if not torch.cuda.is_available():  # GPU kernels are checked in Triton's interpreter
    os.environ["TRITON_INTERPRET"] = "1"
os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR  # and with the processes that tests start


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def particlebench_cache(tmp_path_factory):
    """A cache folder that lives as long as the session; no test reads or fills the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("PARTICLEBENCH_CACHE")
    os.environ["PARTICLEBENCH_CACHE"] = str(folder)
    yield folder
    os.environ.pop("PARTICLEBENCH_CACHE")
    if before is not None:
        os.environ["PARTICLEBENCH_CACHE"] = before


@pytest.fixture(scope="session")
def shared_dir():
    """The folder of reference data beside the checkout, which is not part of the project."""
    folder = ROOT.parent / "shared"
    if not (folder / "reference").is_dir():
        pytest.skip(f"no reference data at {folder}")
    return folder


@pytest.fixture(params=["v1", "v2"])
def pilarnet_folder(request, tmp_path):
    """(folder, version, events by split): a valid PILArNet folder with train (two files), val and test."""
    rng = np.random.default_rng(5)
    events = {split: make_events(rng, n) for split, n in (("train", 7), ("val", 2), ("test", 3))}
    write_folder(tmp_path / "pilarnet", events, version=request.param)
    return tmp_path / "pilarnet", request.param, events


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of tiny simulated events in PILArNet-M's layout, for runs."""
    from builders.synthetic import make_data  # not earlier: torch and triton read what is set above

    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of this test alone, for what is pre-trained."""
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
