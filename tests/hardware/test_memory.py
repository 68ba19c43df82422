"""Memory that runs out is told with the batch size to try; other errors are not touched."""

import pytest
import torch

from benchmark.errors import BenchmarkError
from benchmark.hardware.memory import memory_explained


def test_memory_that_torch_cannot_get_is_told_with_the_batch_size_to_try():
    sentence = r"^Memory ran out with 8 events at once\. .* Try --set train.batch_size=4: the result"
    with pytest.raises(BenchmarkError, match=sentence), memory_explained("--set train.batch_size=", 8):
        torch.empty(1 << 60)
    with pytest.raises(BenchmarkError, match=r"with 1 event at once.*smaller --preset"), memory_explained("x", 1):
        raise MemoryError


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^shape"), memory_explained("x", 8):
        raise RuntimeError("shape '[3]' is invalid")
