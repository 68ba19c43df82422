"""A verification is a list of checks, each with a measured and an expected value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One comparison."""

    name: str
    passed: bool
    found: str
    expected: str
    noted: bool = False  # information, neither passed nor failed
    group: str = ""  # title of a group of checks

    @property
    def status(self) -> str:
        """passed, FAILED or noted."""
        return "noted" if self.noted else "passed" if self.passed else "FAILED"


@dataclass(frozen=True)
class Report:
    """The outcome of one verification."""

    title: str
    checks: tuple[Check, ...]
    details: Mapping[str, Any]  # plain values, for tables and JSON

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed or check.noted for check in self.checks)
