"""Files of arrays from strangers: read, or refused with the cause; never anything else."""

import io

import numpy as np
import pytest

from benchmark.data.arrays import open_array


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


WHOLE = npy(np.arange(100, dtype=np.int64))


def header(text):
    """The file with another header of the same length."""
    length = int.from_bytes(WHOLE[8:10], "little")
    return WHOLE[:10] + text.ljust(length - 1).encode() + b"\n" + WHOLE[10 + length :]


def test_an_array_is_read(tmp_path):
    (tmp_path / "a.npy").write_bytes(WHOLE)
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy"), np.arange(100))


REFUSED = {
    "empty": b"",
    "cut": WHOLE[:200],
    "no header": WHOLE[:9],
    "an open bracket": header("{'descr': '<i8', 'fortran_order': False, 'shape': (100,"),
    "no key": header("{'descr': '<i8', 'shape': (100,)}"),
    "more than there is": header("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }"),
    "a negative shape": header("{'descr': '<i8', 'fortran_order': False, 'shape': (-100,), }"),
    "deep": header("(" * 60),
    "objects": npy(np.array([{}], dtype=object), allow_pickle=True),
    "random": np.random.default_rng(0).bytes(500),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_array_is_refused(tmp_path, case):
    (tmp_path / "a.npy").write_bytes(REFUSED[case])
    with pytest.raises((OSError, ValueError)):
        open_array(tmp_path / "a.npy")


def test_any_changed_byte_of_the_header_is_read_or_refused(tmp_path):
    rng = np.random.default_rng(1)
    for _ in range(500):
        content = bytearray(WHOLE)
        content[rng.integers(0, 128)] = rng.integers(0, 256)
        (tmp_path / "a.npy").write_bytes(content)
        try:
            assert open_array(tmp_path / "a.npy").nbytes <= len(WHOLE)
        except (OSError, ValueError):
            continue
