"""Stacks in TIFF, BigTIFF, OME-TIFF and ImageJ's TIFF.

A TIFF file is a chain of pages. What its description says of pages, axes and sizes is compared with the chain and with
the bytes of each page; where they differ, images would be shifted, missing or of another kind, and the file is refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmark.errors import DataError

from ._lif_stack import (
    ANY_RATIO,
    DEFLATE_RATIO,
    Stack,
    check_claim,
    check_dtype,
    damage_error,
    mapped_stack,
    size_error,
    volume_shape,
)

_SERIES_OF_SLICES = {"shaped", "generic", "uniform"}  # kinds of files whose equal series are the slices of one stack
_OME_COUNT = re.compile(r'\b(?:SizeZ|SizeC|SizeT|IFD|NumPlanes|PlaneCount)\s*=\s*"(\d+)"')
_NONE, _DEFLATE = {1}, {8, 32946, 50013}  # compression tags


def open_tiff(path: Path, axes: str | None) -> Stack:
    """Open a TIFF file of one stack. axes: names of its axes, in place of what it says of itself. Raises DataError."""
    with _complaints() as complaints:
        file = tifffile.TiffFile(path, _multifile=False)  # does not follow OME metadata to other files
        try:
            chain = list(file.pages)
            if complaints:
                raise damage_error(path, f"its chain of pages breaks off after {len(chain)}")
            _check_grey(path, chain[0])
            _check_description(path, file, len(chain))
            return _open_series(path, file, chain, axes)
        except BaseException:
            file.close()
            raise


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Errors that tifffile only logs, which otherwise reach the terminal."""
    errors: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                errors.append(record.getMessage())

    logger, handler = logging.getLogger("tifffile"), Collect()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield errors
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _check_grey(path: Path, page: Any) -> None:
    if page.samplesperpixel != 1:
        raise DataError(f"{path} is in colour. Grey values were expected. Convert the stack to one channel.")
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        raise DataError(
            f"{path} says that 0 is white (photometric MinIsWhite): its tracks may be dark. Values that grow with the "
            f"light were expected. Save it as MinIsBlack, inverted if tracks are dark (ImageJ: Image > Lookup Tables > "
            f"Invert LUT, or Edit > Invert)."
        )


def _check_description(path: Path, file: Any, n_pages: int) -> None:
    """Before tifffile makes room for what OME metadata claim."""
    counts = [int(text) for text in _OME_COUNT.findall(file.ome_metadata or "")]
    if max(counts, default=0) > n_pages:
        raise size_error(path, f"{n_pages} pages", (max(counts), *file.pages[0].shape))


def _open_series(path: Path, file: Any, chain: Sequence[Any], axes: str | None) -> Stack:
    series, first = file.series, file.series[0]
    plane = (int(chain[0].imagelength), int(chain[0].imagewidth))
    if file.is_ome and first.kind != "ome":
        raise damage_error(path, "its OME description does not fit its pages, or names other files")
    if len(series) == 1:
        pages, shape = list(first.pages), volume_shape(path, first.shape, axes or first.axes)
    else:
        if any(s.kind not in _SERIES_OF_SLICES or tuple(s.shape) != plane for s in series):
            raise DataError(
                f"{path} holds {len(series)} series of images, for example positions or channels. One stack was "
                f"expected. Save each scan as a file."
            )
        pages, shape = [s.pages[0] for s in series], (len(series), *plane)
    dtype = check_dtype(path, np.dtype(first.dtype))
    if shape[1:] != plane:
        raise size_error(path, f"pages of {plane[0]} x {plane[1]}", shape)
    if len(series) == 1 and first.dataoffset is not None:
        _check_contiguous(path, len(chain), int(first.dataoffset), shape, dtype)
        file.close()
        return mapped_stack(path, path, shape, (int(first.dataoffset), dtype.newbyteorder(file.byteorder).str))
    if len(pages) != shape[0] or len(chain) != shape[0] or any(page is None for page in pages):
        raise size_error(path, f"{len(chain)} pages", shape)
    pages = [chain[page.index] for page in pages]  # read in full: a series takes most facts from its first page
    _check_pages(path, pages, plane, dtype)

    def read(begin: int, end: int) -> np.ndarray:
        try:
            with _complaints():
                return np.stack([pages[z].asarray() for z in range(begin, end)])
        except (ImportError, ValueError) as error:
            if isinstance(error, ImportError) or "imagecodecs" in str(error):
                raise _decoder_error(path) from error
            raise

    return Stack(path, shape, dtype, read, file.close)


def _decoder_error(path: Path) -> DataError:
    return DataError(
        f"{path} is compressed in a way that needs the package 'imagecodecs', which is missing. It was expected. Type "
        f"`pip install imagecodecs`, or save the stack without compression."
    )


def _check_contiguous(path: Path, n_pages: int, begin: int, shape: tuple[int, int, int], dtype: np.dtype) -> None:
    """One block of bytes, with a page for each slice; or with one page for all, as ImageJ writes large stacks."""
    n_bytes, end = path.stat().st_size, begin + prod(shape) * dtype.itemsize
    if end > n_bytes:
        raise size_error(path, f"{n_bytes:,} bytes, where {end:,} are needed", shape)
    if n_pages not in (1, shape[0]):
        raise size_error(path, f"{n_pages} pages", shape)
    if n_pages == 1 < shape[0] and end != n_bytes:
        raise size_error(path, f"one page and {n_bytes - end:,} bytes too many behind its images", shape)


def _check_pages(path: Path, pages: Sequence[Any], plane: tuple[int, int], dtype: np.dtype) -> None:
    """Each page of the same size and type, with all its strips or tiles, inside the file, not over another."""
    n_bytes = path.stat().st_size
    taken: list[tuple[int, int]] = []
    for z, page in enumerate(pages):
        if page.shape != plane or np.dtype(page.dtype) != dtype or page.compression != pages[0].compression:
            raise damage_error(path, f"its page {z} is {page.shape} of {page.dtype}, its first {plane} of {dtype}")
        counts = [int(n) for n in page.databytecounts]
        needed = prod(page.chunked)
        if len(counts) != needed or len(page.dataoffsets) != needed or min(counts) < 1:
            raise damage_error(path, f"its page {z} lacks some of its {needed} strips or tiles")
        compression = int(page.compression)
        ratio = 1 if compression in _NONE else DEFLATE_RATIO if compression in _DEFLATE else ANY_RATIO
        check_claim(path, prod(plane) * int(page.bitspersample) // 8, sum(counts), ratio)
        taken += [(int(begin), int(begin) + n) for begin, n in zip(page.dataoffsets, counts, strict=True)]
    taken.sort()
    if taken[-1][1] > n_bytes:
        raise damage_error(path, f"its images go on to byte {taken[-1][1]:,}, and it ends at {n_bytes:,}")
    if any(end > begin for (_, end), (begin, _) in pairwise(taken)):
        raise damage_error(path, "two of its images lie over each other")
