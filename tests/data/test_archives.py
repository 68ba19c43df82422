"""An archive is refused by its directory, before a member is unpacked."""

import io
import struct
import zipfile

import numpy as np
import pytest

from benchmark.data.archives import check_archive, check_sizes
from builders.archives import compressed


def archive(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


GOOD = archive(a=np.arange(20.0), b=np.zeros((3, 4), np.int32))


def claiming(content, n_bytes):
    """The same archive, whose directory gives one member another size."""
    at = content.index(b"PK\x01\x02")  # the first entry of the directory: sizes at 20 (packed) and 24 (unpacked)
    return content[: at + 24] + struct.pack("<I", n_bytes) + content[at + 28 :]


def flagged(content):
    """The same archive, whose directory says that one member is encrypted."""
    at = content.index(b"PK\x01\x02") + 8
    return content[:at] + bytes([content[at] | 1]) + content[at + 1 :]


DAMAGED = {
    "encrypted": (flagged(GOOD), r"its part a\.npy is marked as encrypted"),
    "compressed": (compressed(GOOD), r"its part a\.npy is compressed"),
    "claims": (claiming(GOOD, 4_000_000_000), r"its parts claim 4,000,000,\d+ bytes, and it has \d+"),
    "cut": (GOOD[:-30], "it is no whole archive"),
    "text": (b"no archive", "it is no whole archive"),
    "empty": (b"", "it is no whole archive"),
}


@pytest.mark.parametrize("check", [check_sizes, check_archive])
def test_what_torch_and_numpy_write_passes(check, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(GOOD)
    check(path)


@pytest.mark.parametrize("check", [check_sizes, check_archive])
@pytest.mark.parametrize("name", DAMAGED)
def test_the_cause_is_named_and_nothing_is_unpacked(name, check, tmp_path, monkeypatch):
    def unpack(*_):
        pytest.fail("a member was unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "open", unpack)
    path = tmp_path / "a.npz"
    content, message = DAMAGED[name]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{message}$"):
        check(path)


def test_a_changed_byte_is_found_by_its_checksum(tmp_path):
    path = tmp_path / "a.npz"
    at = GOOD.index(np.float64(7).tobytes())
    path.write_bytes(GOOD[:at] + b"\1" + GOOD[at + 1 :])
    check_sizes(path)
    with pytest.raises(ValueError, match=r"^its part a\.npy does not have its checksum$"):
        check_archive(path)


def test_a_folder_is_no_archive(tmp_path):
    with pytest.raises(ValueError, match="it is no file"):
        check_archive(tmp_path)
