"""Counts per event in a record: packed compactly, and unpacked."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmark.errors import RecordError
from benchmark.records.record import RunRecord

_ENCODINGS = {"base64 zlib int32 little-endian": "<i4", "base64 zlib float32 little-endian": "<f4"}


def with_scores(
    record: RunRecord, metrics: Mapping[str, Any], counts: np.ndarray, event_ids: Sequence[str]
) -> RunRecord:  # fmt: skip
    """The record with scores and the counts (n_events, ...) they come from, of the first events in order."""
    return replace(record, metrics=dict(metrics), per_event=pack_counts(counts, tuple(event_ids[: len(counts)])))


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
    if "event_ids" not in packed:
        return None
    try:
        ids = zlib.decompress(base64.b64decode(packed["event_ids"])).decode().split("\n")
    except (TypeError, ValueError, zlib.error) as error:
        raise RecordError(
            f"A record's event ids are damaged ({type(error).__name__}: {error}). Output of `pack_counts` was "
            f"expected. Delete the record and run again."
        ) from error
    return ids


def unpack_counts(packed: Mapping[str, Any]) -> np.ndarray:
    """Inverse of `pack_counts`: the (n_events, ...) array. Raises RecordError where the counts are damaged."""
    try:
        raw = zlib.decompress(base64.b64decode(packed["data"]))
        counts: np.ndarray = np.frombuffer(raw, dtype=_ENCODINGS[packed["encoding"]]).reshape(packed["shape"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise RecordError(
            f"A record's counts per event are damaged ({type(error).__name__}: {error}). Output of `pack_counts` was "
            f"expected. Delete the record and run again."
        ) from error
    return counts


def _ids_sha256(event_ids: tuple[str, ...]) -> str:
    from benchmark.io import sha256_text

    return sha256_text("\n".join(event_ids))
