"""Compute engines of the suite, and for each missing one the reason and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmark.packages import missing_package


@dataclass(frozen=True)
class Backend:
    """One engine. `available()` returns None where it can be used, else the reason and the remedy."""

    name: str
    purpose: str
    available: Callable[[], str | None]


def backends() -> list[Backend]:
    """All engines that the suite can use."""
    return [
        Backend("cpu", "everything", lambda: None),
        Backend("numba", "tokenisation and simulation on CPUs", partial(missing_package, "numba")),
        Backend("triton", "tokenisation and sparse convolution on NVIDIA GPUs", _triton),
        Backend("pytorch3d", "tokenisation, beside the native code", partial(missing_package, "pytorch3d")),
        Backend("spconv", "sparse convolution on GPUs", partial(missing_package, "spconv")),
        Backend("spconv-triton", "sparse convolution on GPUs", _spconv_triton),
        Backend(
            "minkowski", "sparse convolution, where you have built it", partial(missing_package, "MinkowskiEngine")
        ),
        Backend("torch_geometric", "the model gnn", partial(missing_package, "torch_geometric")),
        Backend("optuna", "searches for learning rates", partial(missing_package, "optuna")),
        Backend("cuda", "training and inference on NVIDIA GPUs", _cuda),
        Backend("submitit", "simulation and sweeps over SLURM", partial(missing_package, "submitit")),
        Backend("huggingface_hub", "download of PILArNet-M", partial(missing_package, "huggingface_hub")),
        Backend("uproot", "ROOT files of the calorimeter", partial(missing_package, "uproot")),
        Backend("zarr", "Zarr arrays of light-sheet scans", partial(missing_package, "zarr")),
        Backend("openpyxl", "XLSX tables of light-sheet scans", partial(missing_package, "openpyxl")),
    ]


def _triton() -> str | None:
    from benchmark.hardware.kernels import missing

    return _cuda() or missing()


def _spconv_triton() -> str | None:
    return missing_package("spconv_triton") or _triton()


def _cuda() -> str | None:
    import torch

    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return "this torch is a CPU build: install a CUDA build of torch (pytorch.org, Get started)"
    return "torch has CUDA, but sees no device: check `nvidia-smi` and the driver's version"
