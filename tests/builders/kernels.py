"""Kernels need a Triton of some age: older ones are skipped, in a test or before a module that imports kernels."""

import pytest

from benchmark.hardware.kernels import OLDEST, triton_version


def skip_older_triton(whole_module=False):
    """Skip where there is no Triton, or one that the kernels cannot use."""
    pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")
    version = triton_version()
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        pytest.skip(f"triton {version} is older than {oldest}, which the kernels need", allow_module_level=whole_module)
