"""The one file that talks to the Hugging Face hub: what a data set repository holds, and fetching one file of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

from benchmark.errors import BenchmarkError, DataError
from benchmark.progress import progress

T = TypeVar("T")
_PIECE_BYTES = 1 << 24  # asked for at once; what a broken connection can lose
_ENDPOINT = "https://huggingface.co"
_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, without its content."""

    path: str  # below the repository's root, with /
    size: int  # bytes
    sha256: str | None  # of a large (LFS) file
    git_sha1: str | None  # of a small file: of "blob <size>\\0" and the content


def list_files(repo: str, revision: str) -> tuple[str, list[RemoteFile]]:
    """The commit that `revision` (branch, tag or commit) names now, and its files sorted by path. Raises DataError."""
    hub = _hub()

    def ask() -> tuple[str, list[RemoteFile]]:
        api = hub.HfApi()
        commit = api.dataset_info(repo, revision=revision).sha
        tree = api.list_repo_tree(repo, repo_type="dataset", revision=commit, recursive=True)
        files = [
            RemoteFile(f.path, f.size, f.lfs.sha256 if f.lfs else None, None if f.lfs else f.blob_id)
            for f in tree
            if hasattr(f, "size")  # folders have none
        ]
        return commit, sorted(files, key=lambda f: f.path)

    return _asked(f"Listing {repo} at {revision}", ask)


def fetch(repo: str, commit: str, file: RemoteFile, target: Path) -> None:
    """Download one file to `target`, going on behind the bytes that it already holds. Raises DataError.

    Reads ranges: the hub's own download starts from the beginning in a new process.
    """
    hub = _hub()

    def read_on() -> None:
        have = target.stat().st_size if target.is_file() else 0
        remote = hub.HfFileSystem().open(
            f"datasets/{repo}/{file.path}", "rb", revision=commit, block_size=_PIECE_BYTES, cache_type="none"
        )
        title = f"downloading {file.path} (MB)"
        with remote, target.open("ab") as stream, progress(title, file.size // 10**6) as bar:
            while have < file.size:
                remote.seek(have)
                piece = remote.read(min(_PIECE_BYTES, file.size - have))
                if not piece:
                    raise ConnectionError("the answer ended early")
                _append(stream, piece, target)
                have += len(piece)
                bar.update(have // 10**6)

    _asked(f"Fetching {file.path} of {repo}", read_on)


def _append(stream: BinaryIO, piece: bytes, target: Path) -> None:
    try:
        stream.write(piece)
        stream.flush()
    except OSError as error:
        raise DataError(
            f"{target} could not be written: {error.strerror or error}. A writable folder with free space was "
            f"expected; what has been fetched is kept. Free some space, then repeat the command."
        ) from error


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise BenchmarkError(
            "Downloads need the package huggingface_hub, which is not installed. The extra `hub` was expected. "
            'Type `pip install "particlebench[hub]"`.'
        ) from error
    return huggingface_hub


def _asked(what: str, call: Callable[[], T]) -> T:
    host = urlsplit(os.environ.get("HF_ENDPOINT", _ENDPOINT)).hostname or ""
    if not any(os.environ.get(p) for p in _PROXIES) and not _resolves(host):  # at once, not after a minute of retries
        raise _unreachable(what, host, "its name does not resolve")
    from huggingface_hub import utils

    not_found = (utils.RepositoryNotFoundError, utils.RevisionNotFoundError)  # type: ignore[attr-defined]
    try:
        return call()
    except not_found as error:
        raise DataError(
            f"{what} failed: there is no such repository or revision on {host}. A public data set was expected. "
            f"Check the revision."
        ) from error
    except BenchmarkError:
        raise
    except Exception as error:  # the hub's client lets the errors of whichever HTTP library it uses pass
        first_line = str(error).partition("\n")[0]
        raise _unreachable(what, host, f"{type(error).__name__}: {first_line}") from error


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def _unreachable(what: str, host: str, why: str) -> DataError:
    return DataError(
        f"{what} failed: {host} cannot be reached ({why}). A network connection was expected; what has been fetched is "
        f"kept. Repeat the command when online, or point --data to a folder of local files."
    )
