"""Counts per event in a record: packed compactly, and unpacked."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmark.errors import RecordError
from benchmark.records.record import RunRecord

_ENCODINGS = {"base64 zlib int32 little-endian": "<i4", "base64 zlib float32 little-endian": "<f4"}
MAX_UNPACKED = 1 << 28  # bytes
MAX_RATIO = 200  # of unpacked to packed bytes; zlib allows 1,000, which only constants reach
MAX_ID = 1000  # letters of an event's id, on average
_SLACK = 1 << 20  # bytes that may unpack from anything


def with_scores(
    record: RunRecord, metrics: Mapping[str, Any], counts: np.ndarray, event_ids: Sequence[str], units: np.ndarray
) -> RunRecord:  # fmt: skip
    """The record with scores and the counts (n_events, ...) they come from, of the first events in order.

    units: the number of the independent event of each.
    """
    n = len(counts)
    packed = pack_counts(counts, tuple(event_ids[:n]))
    return replace(record, metrics=dict(metrics), per_event={**packed, **pack_units(units[:n])})


def pack_units(units: np.ndarray) -> dict[str, str]:
    """The number of the independent event of each sample, packed as its steps: zlib and base64 of int32."""
    return {"units": _compress(np.diff(units, prepend=0).astype("<i4").tobytes())}


def unpack_units(packed: Mapping[str, Any]) -> np.ndarray | None:
    """(n_events,) numbers of independent events; None in records without them. Raises RecordError if damaged."""
    if packed.get("units") is None:
        return None
    try:
        n_events = packed["shape"][0]
        # steps of 1 pack to next to nothing; a text that can hold the counts of so many events may hold their numbers
        is_plausible = "data" in packed and _n_bytes(packed) <= _limit(base64.b64decode(packed["data"]))
        steps = np.frombuffer(_decompress(packed["units"], 4 * n_events, 4 * n_events if is_plausible else 0), "<i4")
        units: np.ndarray = np.cumsum(steps, dtype=np.int64)
        if len(units) != n_events or len(np.unique(units)) != units.max() + 1 or units.min() < 0:
            raise ValueError("other than a number from 0 on for each event")
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise _damaged("numbers of independent events", error) from error
    return units


def pack_counts(counts: np.ndarray, event_ids: tuple[str, ...]) -> dict[str, Any]:
    """Counts per event, packed: zlib and base64 of little-endian int32, or of float32 for other numbers."""
    is_integer = np.issubdtype(counts.dtype, np.integer)
    encoding, dtype = list(_ENCODINGS.items())[0 if is_integer else 1]
    raw = np.ascontiguousarray(counts, dtype=dtype).tobytes()
    return {
        "encoding": encoding,
        "shape": list(counts.shape),
        "data": _compress(raw),
        "event_ids_sha256": _ids_sha256(event_ids),
        "event_ids": _compress("\n".join(event_ids).encode()),  # zlib and base64, one per line
    }


def _compress(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def unpack_event_ids(packed: Mapping[str, Any]) -> list[str] | None:
    """The ids of the scored events, in the order of their counts; None in records without them.

    Raises RecordError where they are damaged.
    """
    if packed.get("event_ids") is None:
        return None
    try:
        n_events = packed["shape"][0]
        ids = _decompress(packed["event_ids"], n_events * MAX_ID).decode().split("\n")
        if len(ids) != n_events:
            raise ValueError(f"{len(ids)} ids of {n_events} events")
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise _damaged("event ids", error) from error
    return ids


def unpack_counts(packed: Mapping[str, Any]) -> np.ndarray:
    """Inverse of `pack_counts`: the (n_events, ...) array. Raises RecordError where the counts are damaged."""
    try:
        raw = _decompress(packed["data"], _n_bytes(packed))
        counts: np.ndarray = np.frombuffer(raw, dtype=_ENCODINGS[packed["encoding"]]).reshape(packed["shape"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise _damaged("counts per event", error) from error
    return counts


def _n_bytes(packed: Mapping[str, Any]) -> int:
    """Bytes of the counts, by their shape."""
    return int(math.prod(packed["shape"]) * np.dtype(_ENCODINGS[packed["encoding"]]).itemsize)


def _limit(packed: bytes) -> int:
    """Bytes that a packed text may unpack to."""
    return min(MAX_UNPACKED, len(packed) * MAX_RATIO + _SLACK)


def _decompress(text: str, n_bytes: int, allowed: int = 0) -> bytes:
    """At most `n_bytes` of zlib and base64. allowed: bytes that may come of any text.

    Raises ValueError where there are more, or too many for the text.
    """
    packed = base64.b64decode(text)
    limit = max(_limit(packed), allowed)
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(packed, max(1, min(n_bytes, limit) + 1))
    if len(raw) > limit:
        raise ValueError(f"{len(packed)} bytes unpack to more than {limit}")
    if len(raw) > n_bytes or not unpacker.eof:
        raise ValueError(f"other than the {n_bytes} bytes of its shape")
    return raw


def _damaged(what: str, error: Exception) -> RecordError:
    return RecordError(
        f"A record's {what} are damaged ({type(error).__name__}: {error}). Output of `pack_counts` was expected. "
        f"Delete the record and run again."
    )


def _ids_sha256(event_ids: tuple[str, ...]) -> str:
    from benchmark.io import sha256_text

    return sha256_text("\n".join(event_ids))
