"""What the simulated data sets of default settings are called, and were called. No torch, no numba.

A record names its data by a revision. Versions whose sources differed gave the same events other names; records with
one of those belong into the table of today's name. The simulations state the same (`Plan.revision`, `Plan.aliases`);
a test holds that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# dataset -> names of what its default settings make: today's, then those of earlier versions
DEFAULT_REVISIONS: Mapping[str, tuple[str, ...]] = {
    "calo-sim": ("calo-40732cfdb85a", "calo-1f5e6b862737"),
    "lartpc-sim": (
        "sim-ba595627f976", "sim-5b5c523d0b88", "sim-533139755a13", "sim-9f5e28f6d490", "sim-17fc08c36197",
    ),
    "lif-sim": ("lif-c04cde8e23fe",),  # followed in records by a hash of the tiles' settings
}  # fmt: skip


def with_todays_revision(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A record's `dataset` (name, revision, ...), with today's name in the place of an earlier one."""
    today, *earlier = DEFAULT_REVISIONS.get(dataset["name"], ("",))
    name, rest = _parts(dataset["revision"])
    return {**dataset, "revision": f"{today}{rest}" if name in earlier else dataset["revision"]}


def is_made_today(dataset: Mapping[str, Any]) -> bool:
    """Whether default settings make the events that a record's `dataset` names; True for what is not simulated."""
    names = DEFAULT_REVISIONS.get(dataset["name"])
    return names is None or _parts(dataset["revision"])[0] in names


def _parts(revision: str) -> tuple[str, str]:
    """`<prefix>-<hash>`, and what follows."""
    name = "-".join(revision.split("-")[:2])
    return name, revision[len(name) :]
