"""The only file that talks to the Hugging Face hub: list a repository, fetch a file, upload one."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Literal, TypeVar
from urllib.parse import urlsplit

from benchmark.errors import BenchmarkError, DataError, one_line
from benchmark.io import sha256_file
from benchmark.packages import missing_error
from benchmark.paths import cache_dir
from benchmark.progress import progress

T = TypeVar("T")
Kind = Literal["dataset", "model"]  # of a repository
PREFIX = "hub:"  # of a name given as --checkpoint
WEIGHTS = (".safetensors", ".ckpt")
MAX_WEIGHTS = 20 * 10**9  # bytes of a file that is fetched by its name alone
_PIECE_BYTES = 1 << 24  # per request; lost at most when a connection breaks
_ENDPOINT = "https://huggingface.co"
_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_REPO_WORDS = {"dataset": "data set", "model": "model repository"}


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, without its content."""

    path: str  # below the repository's root, with /
    size: int  # bytes
    sha256: str | None  # of large (LFS) files
    git_sha1: str | None  # of small files: of "blob <size>\\0" and the content


@dataclass(frozen=True)
class RemoteName:
    """`owner/name[@revision][:file]`, as a user types it."""

    repo: str
    revision: str
    file: str | None


def parse_name(text: str) -> RemoteName:
    """The parts of `owner/name[@revision][:file]`; the revision defaults to `main`. Raises DataError."""
    part = r"[A-Za-z0-9][A-Za-z0-9._-]*"
    match = re.fullmatch(rf"({part}/{part})(?:@({part}(?:/{part})*))?(?::({part}(?:/{part})*))?", text)
    if match is None:
        raise DataError(
            f"{text!r} is not the name of a repository. owner/name, owner/name@revision or owner/name:file was "
            f"expected. Type for example owner/name:weights.safetensors."
        )
    return RemoteName(match[1], match[2] or "main", match[3])


def list_files(repo: str, revision: str, kind: Kind = "dataset") -> tuple[str, list[RemoteFile]]:
    """The commit that `revision` (branch, tag or commit) names now, and its files sorted by path. Raises DataError."""
    hub = _hub()

    def query() -> tuple[str, list[RemoteFile]]:
        api = hub.HfApi()
        commit = api.repo_info(repo, repo_type=kind, revision=revision).sha
        tree = api.list_repo_tree(repo, repo_type=kind, revision=commit, recursive=True)
        files = [
            RemoteFile(f.path, f.size, f.lfs.sha256 if f.lfs else None, None if f.lfs else f.blob_id)
            for f in tree
            if hasattr(f, "size")  # folders have none
        ]
        for file in files:
            _check_listed(repo, file)
        return commit, sorted(files, key=lambda f: f.path)

    return _call_hub(f"Listing {repo} at {revision}", query, kind)


def _check_listed(repo: str, file: RemoteFile) -> None:
    """Raises DataError for a file whose name leaves its folder or whose size is none."""
    parts = file.path.split("/")
    if not file.path.isprintable() or "\\" in file.path or any(part in ("", ".", "..") for part in parts):
        raise DataError(
            f"{repo} lists a file {file.path[:80]!r}, whose name leaves its folder. Names below the repository were "
            f"expected. Do not use this repository, and tell its owner."
        )
    if isinstance(file.size, bool) or not isinstance(file.size, int) or file.size < 0:
        raise DataError(
            f"{repo} lists {file.path[:80]!r} without its size. A number of bytes was expected. Repeat the command, or "
            f"use another revision."
        )


def fetch(repo: str, commit: str, file: RemoteFile, target: Path, kind: Kind = "dataset") -> None:
    """Download one file to `target`, resuming after the bytes that it already holds. Raises DataError.

    Reads ranges: the hub's own download restarts from the beginning in a new process.
    """
    hub = _hub()
    prefix = "datasets/" if kind == "dataset" else ""

    def read_on() -> None:
        n_bytes = target.stat().st_size if target.is_file() else 0
        remote = hub.HfFileSystem().open(
            f"{prefix}{repo}/{file.path}", "rb", revision=commit, block_size=_PIECE_BYTES, cache_type="none"
        )
        title = f"downloading {file.path} (MB)"
        with remote, target.open("ab") as stream, progress(title, file.size // 10**6) as bar:
            while n_bytes < file.size:
                remote.seek(n_bytes)
                piece = remote.read(min(_PIECE_BYTES, file.size - n_bytes))
                if not piece:
                    raise ConnectionError("the answer ended early")
                _append(stream, piece, target)
                n_bytes += len(piece)
                bar.update(n_bytes // 10**6)

    _call_hub(f"Fetching {file.path} of {repo}", read_on, kind)


def check_content(path: Path, file: RemoteFile) -> None:
    """Delete a fetched file whose size or hash differs from the hub's. Raises DataError then."""
    if file.sha256 is not None:
        is_intact = sha256_file(path) == file.sha256
    else:
        content = path.read_bytes()
        git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        is_intact = file.git_sha1 is None or git_sha1 == file.git_sha1
    if not is_intact or path.stat().st_size != file.size:
        path.unlink()
        raise DataError(
            f"{file.path} arrived damaged and was deleted. {file.size} bytes with the checksum "
            f"{file.sha256 or file.git_sha1} were expected. Repeat the command."
        )


def upload(path: Path, repo: str, name: str) -> str:
    """Add a file to a model repository under `name`, creating the repository if needed; returns the commit's address.

    The token is the hub's own: HF_TOKEN, or what `hf auth login` stored. Raises DataError.
    """
    hub = _hub()

    def send() -> str:
        api = hub.HfApi()
        api.create_repo(repo, repo_type="model", exist_ok=True)
        commit = api.upload_file(
            path_or_fileobj=path, path_in_repo=name, repo_id=repo, repo_type="model", commit_message=f"Add {name}"
        )
        return str(commit.commit_url)

    return _call_hub(f"Uploading {path} to {repo}", send, "model")


def is_remote(text: str) -> bool:
    """Whether a checkpoint is given as `hub:owner/name[@revision][:file]`."""
    return text.startswith(PREFIX)


def cached_file(text: str) -> Path:
    """The local copy of `hub:owner/name[@revision][:file]`, fetched unless it is in the cache."""
    return download(parse_name(text.removeprefix(PREFIX)))


def download(name: RemoteName) -> Path:
    """Fetch one file of a model repository into the cache, checked by its hash; returns its path.

    Its folder is named after the commit, so it is fetched once; a broken download resumes. Raises DataError.
    """
    commit, listing = list_files(name.repo, name.revision, "model")
    file = _select_file(name, listing)
    if file.size > MAX_WEIGHTS:
        raise DataError(
            f"{file.path} of {name.repo} has {file.size / 1e9:.0f} GB. At most {MAX_WEIGHTS / 1e9:.0f} GB of weights "
            f"were expected. Fetch it with `hf download {name.repo} {file.path}`, then give its path."
        )
    path = cache_dir() / "hub" / name.repo.replace("/", "--") / commit / file.path
    if path.is_file() and path.stat().st_size == file.size:
        return path
    partial = path.with_name(f".{path.name}.{(file.sha256 or file.git_sha1 or commit)[:12]}.partial")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        fetch(name.repo, commit, file, partial, "model")
        check_content(partial, file)
        os.replace(partial, path)
    except OSError as error:
        raise DataError(
            f"{path} could not be written: {error.strerror or error}. A writable folder was expected. Choose another "
            f"folder, then repeat the command."
        ) from error
    return path


def _select_file(name: RemoteName, listing: list[RemoteFile]) -> RemoteFile:
    """The named file, or the only one with weights."""
    weights = [f for f in listing if f.path.endswith(WEIGHTS)]
    chosen = [f for f in listing if f.path == name.file] if name.file else weights
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(f.path for f in weights[:5]) or "none"
    problem = f"has no file {name.file}" if name.file else f"has {len(weights)} files of weights"
    raise DataError(
        f"{name.repo} at {name.revision} {problem} ({' or '.join(WEIGHTS)} there: {names}). One file was expected. "
        f"Name it: {name.repo}:weights.safetensors, for example."
    )


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
        raise missing_error("huggingface_hub", "A download or upload") from error
    return huggingface_hub


def _call_hub(action: str, call: Callable[[], T], kind: Kind) -> T:
    host = urlsplit(os.environ.get("HF_ENDPOINT", _ENDPOINT)).hostname or ""
    if not any(os.environ.get(p) for p in _PROXIES) and not _resolves(host):  # else a minute of retries
        raise _unreachable(action, host, "its name does not resolve")
    from huggingface_hub import utils

    missing_errors = (utils.RepositoryNotFoundError, utils.RevisionNotFoundError)  # type: ignore[attr-defined]
    try:
        return call()
    except missing_errors as error:
        raise DataError(
            f"{action} failed: there is no such repository or revision on {host}. A public {_REPO_WORDS[kind]}, or one "
            f"that your token opens, was expected. Check the name and the revision."
        ) from error
    except BenchmarkError:
        raise
    except Exception as error:  # the hub's client passes on errors of any HTTP library
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
            raise DataError(
                f"{action} failed: {host} refused the access. A token with the right to it was expected. Type "
                f"`hf auth login`, or set HF_TOKEN, then repeat the command."
            ) from error
        raise _unreachable(action, host, f"{type(error).__name__}: {one_line(error)}") from error


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def _unreachable(action: str, host: str, reason: str) -> DataError:
    return DataError(
        f"{action} failed: {host} cannot be reached ({reason}). A network connection was expected; what has been "
        f"fetched is kept. Repeat the command when online, or use local files."
    )
