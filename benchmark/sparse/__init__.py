"""Sparse convolution behind one small interface: sites and features in, features out, by one of several backends.

`SparseTensor` holds features on `Sites` (active voxels of B events at one stride); the layers of `layers` are the
submanifold, strided and inverse convolutions; `choose` names the backend that computes them.
"""

from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.backends import BACKENDS, backend, choose
from benchmark.sparse.layers import InverseConvolution, StridedConvolution, SubmanifoldConvolution
from benchmark.sparse.sites import Sites, voxelise
from benchmark.sparse.tensor import SparseTensor, cat

__all__ = [
    "BACKENDS", "InverseConvolution", "Sites", "SparseBackend", "SparseTensor", "StridedConvolution",
    "SubmanifoldConvolution", "backend", "cat", "choose", "voxelise",
]  # fmt: skip
