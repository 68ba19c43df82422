"""numba's compiled code in the suite's cache, one folder per state of the sources.

numba's own cache notices a change of the file that a function is in, but not of the functions that it calls from other
files, so stale code could run after an update. Here any change of a compiled package starts a new folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba
from numba import njit

from benchmark.io import sha256_text
from benchmark.paths import cache_dir

_ROOT = Path(__file__).resolve().parent
_PACKAGES = (
    _ROOT / "ops",
    *(folder / "datasets" / name for name in ("calosim", "larsim", "lifsim") for folder in (_ROOT, _ROOT.parent)),
)


def _sources_sha256() -> str:
    files = [path for package in _PACKAGES for path in sorted(package.glob("*.py"))]
    return sha256_text("".join(path.read_text(encoding="utf-8") for path in files))


_config: Any = numba.config  # its attributes are created when numba is imported
if not _config.CACHE_DIR:  # a user's NUMBA_CACHE_DIR takes precedence
    _config.CACHE_DIR = str(cache_dir() / "compiled" / _sources_sha256()[:16])

__all__ = ["njit"]
