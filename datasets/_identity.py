"""Identity of a simulated data set: its plan, and a digest of a few fixed events.

The source text does not enter, so comments, formatting and moved files change no revision. A simulation states its
`Content`: the digest of a few events, which a test compares with the code's output, and the hashes by which versions
that made the same events named it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from benchmark.io import sha256_text

_NAME = "code_sha256"  # key of a description that holds one of `Content.named_by`
_OF_A_RUN = ("revision", "files", "notice", "versions")  # keys of a manifest that its description lacks
RESOLUTION = 1e-4  # relative, of numbers in a digest: far above what processors round differently
NEGLIGIBLE = 1e-6  # of the median of an array's numbers; smaller ones count as 0
_OFFSET = 1 << 32  # keeps the code of a positive number positive, whatever its logarithm


@dataclass(frozen=True)
class Content:
    """Identity of a simulation's events, independent of its source text."""

    prefix: str  # of revisions
    digest: str  # of its fixed events: `content_digest`
    # SHA-256 names that versions gave to these events: the first is in use, the others are aliases
    named_by: tuple[str, ...]

    def describe(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """JSON-able statement of everything that determines the files.

        Its `code_sha256` is the first of `named_by`: once a hash of the source files, now only a name.
        """
        return {**settings, _NAME: self.named_by[0]}

    def revision(self, description: Mapping[str, Any]) -> str:
        """Name of a description: `<prefix>-<first 12 hex digits of its hash>`."""
        return f"{self.prefix}-{sha256_text(json.dumps(description, sort_keys=True))[:12]}"

    def aliases(self, description: Mapping[str, Any]) -> tuple[str, ...]:
        """Names that earlier versions gave to it."""
        return tuple(self.revision({**description, _NAME: name}) for name in self.named_by[1:])

    def renamed(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """A description of an earlier version with its alias replaced by the first name."""
        return self.describe(description) if description.get(_NAME) in self.named_by else dict(description)

    def is_named_right(self, manifest: Mapping[str, Any]) -> bool:
        """Whether the revision that a manifest states follows from the settings in it; True where it has none."""
        description = {key: value for key, value in manifest.items() if key not in _OF_A_RUN}
        return not description or self.revision(description) == manifest.get("revision")

    def revision_of_manifest(self, manifest: Mapping[str, Any]) -> str:
        """Current name of a manifest's content; the stated one if no version of this content gave it."""
        description = {key: value for key, value in manifest.items() if key not in _OF_A_RUN}
        stated = str(manifest.get("revision"))
        return self.revision(self.renamed(description)) if self.revision(description) == stated else stated


def plain(value: Any) -> Any:
    """Settings as JSON types: sorted dictionaries and lists."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def content_digest(arrays: Sequence[tuple[str, np.ndarray]], resolution: float = RESOLUTION) -> str:
    """SHA-256 of named arrays: whole numbers as they are, others to a relative resolution."""
    digest = sha256()
    for name, array in arrays:
        is_whole = array.dtype.kind in "iub"
        codes = array.astype(np.int64) if is_whole else _rounded(array.astype(np.float64), resolution)
        digest.update(f"{name} {array.shape} ".encode())
        digest.update(codes.astype("<i8").tobytes())
    return digest.hexdigest()


def _rounded(values: np.ndarray, resolution: float) -> np.ndarray:
    """The nearest step of a logarithmic scale, with sign. Unlike decimal digits it has no edge at round numbers."""
    size = np.abs(values)
    typical = np.median(size[size > 0]) if (size > 0).any() else 0.0
    is_visible = size > NEGLIGIBLE * typical
    steps = np.rint(np.log(np.where(is_visible, size, 1.0)) / resolution).astype(np.int64) + _OFFSET
    codes: np.ndarray = np.where(is_visible, np.sign(values).astype(np.int64) * steps, 0)
    return codes
