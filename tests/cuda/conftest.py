import pytest

from builders.kernels import skip_older_triton


@pytest.fixture(autouse=True)
def _skip_older_triton():
    skip_older_triton()
