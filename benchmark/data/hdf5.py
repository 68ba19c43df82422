"""Opens HDF5 files of strangers, and names the cause where that fails."""

from __future__ import annotations

import errno
import importlib
from contextlib import suppress
from pathlib import Path

import h5py

from benchmark.data.digests import permission_error
from benchmark.errors import DataError

_OUTSIDE = "in other files"
_LINKS = (h5py.SoftLink, h5py.ExternalLink)
_MOST_LINKS = 16  # that follow one another, as in the HDF5 library


def open_hdf5_file(path: Path) -> h5py.File:
    """A file for reading. Raises DataError with the cause: no permission, held by a program, cut off, no HDF5."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _open_error(path, error) from error


def _open_error(path: Path, error: OSError) -> DataError:
    text = str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return permission_error(path)
    if "unable to lock" in text and error.errno != errno.EAGAIN:
        return DataError(
            f"{path} lies on a file system without locks. HDF5 expected one with. Type "
            f"`export HDF5_USE_FILE_LOCKING=FALSE`, and the command again."
        )
    if "unable to lock" in text or "already open for write" in text:
        return DataError(
            f"{path} is held by another program that writes to it, or that ended while it did. A closed file was "
            f"expected. Close that program; if there is none, type `h5clear -s {path}`."
        )
    problem = "cut off: it ends before its own last byte" if "truncated" in text else "damaged, or no HDF5 file"
    return DataError(f"{path} is {problem}. A whole HDF5 file was expected. Copy or export the file again.")


def check_inside(path: Path, file: h5py.File, name: str) -> None:
    """Raises DataError where a name of a file leads to numbers in other files (a link, external storage, a view), or
    nowhere: a link to what the file does not hold."""
    problem = _link_problem(file, name)
    if problem is None:
        item = file.get(name)
        outside = isinstance(item, h5py.Dataset) and bool(item.external or item.is_virtual)
        problem = _OUTSIDE if outside else None
    if problem is not None:
        raise DataError(f"{path} keeps {name!r} {problem}. A whole file was expected. Copy it into the file.")


def link_names(file: h5py.File) -> list[str]:
    """Names of all links of a file that are no plain (hard) ones, in its groups too; links are not followed."""
    groups = [""]
    file.visititems(lambda name, item: groups.append(f"{name}/") if isinstance(item, h5py.Group) else None)
    names = (f"{group}{name}" for group in groups for name in file[f"/{group}"])
    return sorted(name for name in names if isinstance(file.get(name, getlink=True), _LINKS))


def _link_problem(file: h5py.File, name: str) -> str | None:
    """Where a link in a name leads, if not to something in the file. Links to other files are not followed."""
    group, parts, n_links = file["/"], _parts(name), 0
    while parts:
        link = group.get(parts[0], getlink=True)
        if isinstance(link, h5py.ExternalLink):
            return _OUTSIDE
        if isinstance(link, h5py.SoftLink):
            n_links += 1
            if n_links > _MOST_LINKS:
                return "behind links that lead in a circle"
            group = file["/"] if link.path.startswith("/") else group
            parts = _parts(link.path) + parts[1:]
            continue
        group = group.get(parts[0])
        if group is None or (parts[1:] and not isinstance(group, h5py.Group)):  # no such name is no fault of a link
            return "behind a link to what it does not hold" if n_links else None
        parts = parts[1:]
    return None


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def check_filters(path: Path, array: h5py.Dataset) -> None:
    """Raises DataError, with what to install, where an array is packed with a filter that this HDF5 library lacks."""
    properties = array.id.get_create_plist()
    for code, _, _, name in map(properties.get_filter, range(properties.get_nfilters())):
        if not _has_filter(code):
            said = name.decode("utf-8", "replace").split(";")[0] or "without a name"
            raise DataError(
                f"{path}: the array {array.name} is packed with the filter {code} ({said}), which is not installed. A "
                f"filter of the HDF5 library was expected. Type `pip install hdf5plugin`, or write the array with gzip "
                f"(`h5repack -f GZIP=4`)."
            )


def _has_filter(code: int) -> bool:
    if not h5py.h5z.filter_avail(code):
        with suppress(ImportError):
            importlib.import_module("hdf5plugin")  # registers its filters
    return bool(h5py.h5z.filter_avail(code))
