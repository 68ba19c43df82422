"""Optional packages: whether each is installed, and how to install it. The only place for these remedies."""

from __future__ import annotations

from importlib.util import find_spec

REMEDIES = {  # import name -> how to install it
    "huggingface_hub": "pip install 'particlebench[hub]'",
    "optuna": "pip install 'particlebench[tune]'",
    "submitit": "pip install 'particlebench[cluster]'",
    "torch_geometric": "pip install 'particlebench[graphs]'",
    "pytorch3d": "build it for your torch with pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/pytorch3d.git'",  # not on the package index for current torch
    "spconv": "pip install spconv-cu126 (or the build of your CUDA version)",
    "spconv_triton": "pip install spconv-triton",
    "MinkowskiEngine": "build MinkowskiEngine 0.5.4 for your torch from its sources",
}


def missing_package(name: str) -> str | None:
    """None where a package can be imported, else that it is missing and how to install it. name: its import name."""
    return None if find_spec(name) else f"the package is missing: {REMEDIES.get(name, f'pip install {name}')}"
