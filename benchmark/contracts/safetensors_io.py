"""Files of weights: safetensors with metadata, written whole or not at all, and checked when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import CheckpointError
from benchmark.io import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM = "tensors_sha256"  # keys of the metadata
METADATA_CHECKSUM = "metadata_sha256"  # over all other metadata


def write_safetensors(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, metadata and the checksums of both, atomically. Raises RecordError.

    Equal tensors and metadata give equal bytes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    with atomic_path(path) as partial:
        try:
            described = {**metadata, CHECKSUM: tensors_sha256(plain)}
            save_file(plain, partial, metadata={**described, METADATA_CHECKSUM: metadata_sha256(described)})
            _sort_metadata(partial)
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(str(error)) from error


def _sort_metadata(path: Path) -> None:
    """Rewrite the header with its metadata by name: the library writes them in another order each time."""
    with path.open("r+b") as stream:
        n_bytes = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(n_bytes))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > n_bytes:
            raise OSError(f"the header of {path} has {n_bytes} bytes, and {len(text)} are needed")
        stream.seek(8)
        stream.write(text.ljust(n_bytes))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Tensors and metadata. Raises CheckpointError for another kind of file, a wrong checksum or values not finite."""
    state, metadata = _read(path, with_tensors=True)
    if CHECKSUM in metadata and metadata[CHECKSUM] != tensors_sha256(state):
        raise CheckpointError(
            f"The checkpoint {path} is damaged: the checksum of its tensors is not {metadata[CHECKSUM][:16]}... The "
            f"file as it was written was expected. Fetch or make it again."
        )
    described = _checked(path, metadata)
    check_finite(path, state)
    return state, described


def read_metadata(path: Path) -> Mapping[str, str]:
    """Metadata alone, from the file's header. Raises CheckpointError for another kind of file or a wrong checksum."""
    return _checked(path, _read(path, with_tensors=False)[1])


def _read(path: Path, with_tensors: bool) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise IsADirectoryError("it is no file")
        with safe_open(str(path), framework="pt") as stream:
            names = stream.keys() if with_tensors else ()
            return {k: stream.get_tensor(k) for k in names}, stream.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The checkpoint {path} could not be read ({_first_line(error)}). A .safetensors file written by this "
            f"suite was expected. Check the path given to --checkpoint."
        ) from error


def _checked(path: Path, metadata: Mapping[str, str]) -> Mapping[str, str]:
    """The metadata without their own checksum. Raises CheckpointError where they do not have it."""
    described = {k: v for k, v in metadata.items() if k != METADATA_CHECKSUM}
    if METADATA_CHECKSUM in metadata and metadata[METADATA_CHECKSUM] != metadata_sha256(described):
        raise CheckpointError(
            f"The checkpoint {path} is damaged: its description does not have its checksum. The file as it was written "
            f"was expected. Fetch or make it again."
        )
    return described


def _first_line(error: Exception) -> str:
    """What the library says, without what it repeats of the file."""
    return str(error).partition("\n")[0][:160].encode("ascii", "backslashreplace").decode().replace("\0", "\\0")


def check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError where a tensor holds NaN or infinity: no prediction comes of such weights."""
    wrong = [k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all())]
    if wrong:
        raise CheckpointError(
            f"The checkpoint {path} holds values that are not finite in {len(wrong)} tensors (first: {wrong[0]}). "
            f"Finite weights were expected. Train or fetch it again."
        )


def metadata_sha256(metadata: Mapping[str, str]) -> str:
    """Hex SHA-256 over names and texts, in the order of the names."""
    return hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode()).hexdigest()


def tensors_sha256(state: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
