"""Numbers of independent events in a record: packed and unpacked, at any number of events."""

import base64
import zlib

import numpy as np
import pytest

from benchmark.errors import RecordError
from benchmark.records.counts import pack_counts, pack_units, unpack_units


def test_a_million_independent_events_are_unpacked_and_a_claim_of_a_billion_is_not():
    n = 1_000_000
    counts = np.random.default_rng(0).integers(0, 50, (n, 2, 2))
    packed = {**pack_counts(counts, ("a",)), **pack_units(np.arange(n))}
    assert len(packed["units"]) * 200 + (1 << 20) < 4 * n  # steps of 1 pack better than any other limit allows
    assert np.array_equal(unpack_units(packed), np.arange(n))
    claimed = {**packed, "shape": [10**9, 2, 2], "units": _zeros(4 * 10**9 // 1000)}
    with pytest.raises(RecordError, match="numbers of independent events"):
        unpack_units(claimed)


def _zeros(n_bytes):
    return base64.b64encode(zlib.compress(bytes(n_bytes), 9)).decode()
