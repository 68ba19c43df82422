"""Revisions of the simulated datasets with default settings, current and earlier. No torch, no numba.

A record names its data by a revision. Earlier versions named the same events differently; records with an earlier name
belong in the table of the current one. The simulations state the same names (`Plan.revision`, `Plan.aliases`); a test
checks that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# dataset -> revisions with default settings: the current one, then earlier names
DEFAULT_REVISIONS: Mapping[str, tuple[str, ...]] = {
    "calo-sim": ("calo-40732cfdb85a", "calo-1f5e6b862737"),
    "lartpc-sim": (
        "sim-ba595627f976", "sim-5b5c523d0b88", "sim-533139755a13", "sim-9f5e28f6d490", "sim-17fc08c36197",
    ),
    "lif-sim": ("lif-c04cde8e23fe",),  # followed in records by a hash of the tiles' settings
}  # fmt: skip


def with_todays_revision(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A record's `dataset` (name, revision, ...), an earlier revision replaced by the current one."""
    current, *earlier = DEFAULT_REVISIONS.get(dataset["name"], ("",))
    name, rest = _split_revision(dataset["revision"])
    return {**dataset, "revision": f"{current}{rest}" if name in earlier else dataset["revision"]}


def equal_revisions(name: str, revision: str) -> tuple[str, ...]:
    """A dataset's revision and every other name of the same events, under which a run may be recorded."""
    names = DEFAULT_REVISIONS.get(name, ())
    start, rest = _split_revision(revision)
    return (revision, *(f"{other}{rest}" for other in names if start in names and other != start))


def is_made_today(dataset: Mapping[str, Any]) -> bool:
    """Whether default settings produce the events of a record's `dataset`; True for data that is not simulated."""
    names = DEFAULT_REVISIONS.get(dataset["name"])
    return names is None or _split_revision(dataset["revision"])[0] in names


def _split_revision(revision: str) -> tuple[str, str]:
    """`<prefix>-<hash>`, and the rest."""
    name = "-".join(revision.split("-")[:2])
    return name, revision[len(name) :]
