"""particlebench: one fair benchmark for models of particle images.

The folders `models/`, `baselines/`, `datasets/` and `cuda/` stand beside this package in a checkout and inside it in a
wheel. Either way Python knows them as `benchmark.models`, `benchmark.datasets`, ...
"""

from pathlib import Path

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
if not (_HERE / "models").is_dir():  # a bare checkout: the sibling folders become subpackages
    __path__.append(str(_HERE.parent))
