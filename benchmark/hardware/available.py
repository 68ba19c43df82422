"""Compute engines that the suite can use, and for each that is missing, why, and the exact remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

_PYTORCH3D = "git+https://github.com/facebookresearch/pytorch3d.git"  # not on the package index for current torch


@dataclass(frozen=True)
class Backend:
    """One engine. `available()` returns None where it can be used, else the reason and the remedy."""

    name: str
    purpose: str
    available: Callable[[], str | None]


def backends() -> list[Backend]:
    """All engines that some part of the suite can use."""
    return [
        Backend("cpu", "everything", lambda: None),
        Backend("numba", "tokenisation and simulation on CPUs", lambda: _package("numba")),
        Backend("triton", "tokenisation and sparse convolution on NVIDIA GPUs", _triton),
        Backend("pytorch3d", "tokenisation, beside the native code", lambda: _package("pytorch3d", _PYTORCH3D)),
        Backend("spconv", "sparse convolution on GPUs", lambda: _package("spconv", "spconv-cu126")),
        Backend("spconv-triton", "sparse convolution on GPUs", _spconv_triton),
        Backend("minkowski", "sparse convolution, where you have built it", _minkowski),
        Backend("torch_geometric", "the model gnn", lambda: _package("torch_geometric", "particlebench[graphs]")),
        Backend("optuna", "searches for learning rates", lambda: _package("optuna", "particlebench[tune]")),
        Backend("cuda", "training and inference on NVIDIA GPUs", _cuda),
        Backend("submitit", "simulation over SLURM", lambda: _package("submitit", "particlebench[cluster]")),
        Backend("huggingface_hub", "download of PILArNet-M", lambda: _package("huggingface_hub", "particlebench[hub]")),
    ]


def _package(name: str, requirement: str | None = None) -> str | None:
    return None if find_spec(name) else f"the package is missing: pip install '{requirement or name}'"


def _triton() -> str | None:
    from benchmark.hardware.kernels import missing

    return _cuda() or missing()


def _spconv_triton() -> str | None:
    return _package("spconv_triton", "spconv-triton") or _triton()


def _minkowski() -> str | None:
    if find_spec("MinkowskiEngine"):
        return None
    return "the package is missing: build MinkowskiEngine 0.5.4 for your torch from its sources"


def _cuda() -> str | None:
    import torch

    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return "this torch is a CPU build: install a CUDA build of torch (pytorch.org, Get started)"
    return "torch has CUDA, but sees no device: check `nvidia-smi` and the driver's version"
