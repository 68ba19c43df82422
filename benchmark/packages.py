"""Optional packages: whether each is installed, and what to type for it. The only place for these remedies.

They name the packages themselves, with the bounds of the extras in pyproject.toml: so they work in a checkout,
installed or not, and beside a wheel.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from benchmark.errors import MissingPackageError

REQUIREMENTS = {  # import name -> what pip installs
    "huggingface_hub": "huggingface_hub>=0.24",
    "openpyxl": "openpyxl>=3.1",
    "optuna": "optuna>=4,<6",
    "pyarrow": "pyarrow>=15",
    "spconv": "spconv-cu126",  # or the build of another version of CUDA
    "spconv_triton": "spconv-triton",
    "submitit": "submitit>=1.5.1",
    "torch_geometric": "torch-geometric>=2.6,<3",
    "uproot": "uproot>=5.7,<6",
    "zarr": "zarr>=2.16",
}
_BUILT = {  # not on the package index for current versions of torch
    "pytorch3d": "build it for your torch: pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/pytorch3d.git'",
    "MinkowskiEngine": "build MinkowskiEngine 0.5.4 for your torch from its sources",
}


def remedy(name: str) -> str:
    """What to type for a package. name: its import name."""
    if name in _BUILT:
        return _BUILT[name]
    requirement = REQUIREMENTS.get(name, name)
    return f"pip install '{requirement}'" if set(requirement) & set("<>") else f"pip install {requirement}"


def missing_package(name: str) -> str | None:
    """None where a package can be imported, else that it is missing and what to type."""
    return None if find_spec(name) else f"the package {name} is missing: {remedy(name)}"


def missing_packages(names: Sequence[str]) -> str | None:
    """As `missing_package`, of the first missing one."""
    return next((reason for name in names if (reason := missing_package(name))), None)


def missing_error(name: str, user: str) -> MissingPackageError:
    """The error of `user`, which needs a package that cannot be imported."""
    return MissingPackageError(
        f"{user} needs the package {name!r}, which is not installed. It was expected. Type `{remedy(name)}`."
    )
