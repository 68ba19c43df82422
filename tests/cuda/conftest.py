import pytest

from benchmark.hardware.kernels import OLDEST, triton_version


@pytest.fixture(autouse=True)
def _skip_older_triton():
    pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")
    version = triton_version()
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST:
        pytest.skip(f"triton {version} is older than {'.'.join(map(str, OLDEST))}, which the kernels need")
