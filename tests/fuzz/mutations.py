"""Damage that fits any file: bytes, text, nested JSON values, and other things at the file's path."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.reader import Change

Rng = np.random.Generator
CODE_RAN = "code-that-ran"  # folder that a malicious file makes in the current one
SIZES = (0, 1, -1, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**62, 2**63 - 1, -(2**63))
NUMBERS = (0, -1, 1, 2, 0.5, -0.0, 1e308, 1e-320, 10**12, 2**63, -(2**63), 10**400, float("nan"), float("inf"))
TEXTS = (
    "", " ", "\0", "a\0b", "x" * 100_000, "../" * 12 + "etc/passwd", "/etc/passwd", "/dev/zero", "..", "C:\\x",
    "evil.py", "=1+1", "<script>", "$(id)", "\n", "\u202e", "\ud800", "é" * 300, "nan", "1e999",
)  # fmt: skip
WHOLE = (None, True, False, [], {}, [[]], {"": None}, [1, "a"], {"value": "x"}, [float("nan")])
DEPTH = 100_000  # of nested brackets


def pick(rng: Rng, values: Any) -> Any:
    """One of a sequence."""
    return values[int(rng.integers(len(values)))]


def place(rng: Rng, size: int) -> int:
    """A byte: in the header, at the end, or anywhere."""
    begin, end = pick(rng, ((0, 64), (0, 512), (size - 64, size), (0, size), (0, size)))
    return int(rng.integers(max(0, begin), max(1, min(size, end))))


def _bytes(change: Callable[[bytearray, Rng], bytes | bytearray]) -> Change:
    def changed(path: Path, rng: Rng) -> None:
        content = bytearray(path.read_bytes())
        path.write_bytes(change(content, rng) if content else b"\0")

    return changed


@_bytes
def truncated(content: bytearray, rng: Rng) -> bytearray:
    """Nothing, the first byte, a header, any length, or all but the last bytes."""
    n = len(content)
    return content[: pick(rng, (0, 1, 4, min(n, 64), place(rng, n), int(rng.integers(n)), n - 1, n - 2, n - 8))]


@_bytes
def flipped(content: bytearray, rng: Rng) -> bytearray:
    """One to eight bits."""
    for _ in range(pick(rng, (1, 1, 2, 8))):
        content[place(rng, len(content))] ^= 1 << int(rng.integers(8))
    return content


@_bytes
def overwritten(content: bytearray, rng: Rng) -> bytearray:
    """A run of random bytes."""
    at, n = place(rng, len(content)), pick(rng, (1, 4, 16, 64))
    n = min(n, len(content) - at)
    content[at : at + n] = rng.bytes(n)
    return content


@_bytes
def zeroed(content: bytearray, rng: Rng) -> bytearray:
    """A run of zeros or of 255."""
    at, n = place(rng, len(content)), pick(rng, (1, 8, 64, 512, 4096))
    n = min(n, len(content) - at)
    content[at : at + n] = bytes([pick(rng, (0, 0, 255))]) * n
    return content


@_bytes
def moved(content: bytearray, rng: Rng) -> bytearray:
    """A block removed, repeated, or moved elsewhere; or something behind the end."""
    at, n = place(rng, len(content)), pick(rng, (1, 3, 16, 200))
    block = content[at : at + n]
    what = int(rng.integers(4))
    if what == 0:
        del content[at : at + n]
    elif what == 1:
        content[at:at] = block
    elif what == 2:
        to = place(rng, len(content))
        content[to : to + len(block)] = block
    else:
        content += pick(rng, (bytes(1), bytes(4096), rng.bytes(100), bytes(content)))
    return content


@_bytes
def sizes(content: bytearray, rng: Rng) -> bytearray:
    """An absurd whole number of 2, 4 or 8 bytes in place of what is there."""
    width, order = pick(rng, (2, 4, 8)), pick(rng, ("little", "big"))
    at = place(rng, len(content)) // width * width
    content[at : at + width] = (pick(rng, SIZES) % 256**width).to_bytes(width, order)
    return content


def other_things(path: Path, rng: Rng) -> None:
    """No file, a folder, a link to a device or to itself, a pipe, or another kind of file."""
    what = int(rng.integers(8))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if what == 0:
        path.mkdir()
    elif what == 1:
        path.symlink_to(pick(rng, ("/dev/zero", "/dev/full", "/dev/stdin", "/proc/self/mem")))
    elif what == 2:
        path.symlink_to(path.name)
    elif what == 3:
        os.mkfifo(path)
    elif what == 4:
        path.write_bytes(rng.bytes(pick(rng, (1, 100, 10_000))))
    elif what == 5:
        path.write_text(pick(rng, ("<html>404</html>", "version https://git-lfs.github.com/spec/v1\n", "null", "[]")))
    elif what == 6:
        with path.open("wb") as stream:
            stream.truncate(pick(rng, (1, 4096, 300_000_000)))  # zeros that take no room on the disk


BYTES: Mapping[str, Change] = {
    "truncated": truncated, "flipped": flipped, "overwritten": overwritten, "zeroed": zeroed, "moved": moved,
    "sizes": sizes, "other things": other_things,
}  # fmt: skip


def _text(change: Callable[[str, Rng], str | bytes]) -> Change:
    def changed(path: Path, rng: Rng) -> None:
        content = change(path.read_text(encoding="utf-8"), rng)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    return changed


@_text
def encodings(text: str, rng: Rng) -> bytes:
    """UTF-16, UTF-32, byte order marks, Latin-1, NUL, invalid bytes, other line ends."""
    at = int(rng.integers(len(text) + 1))
    inserted = pick(rng, ("\0", "\ufeff", "é", "\r", "\u2028", "\x1b[31m", "\x85"))
    codec = pick(rng, ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "utf-16-be", "utf-7"))
    content = (text[:at] + inserted + text[at:]).encode(codec, "replace")
    return content + pick(rng, (b"", b"\xff\xfe", b"\xc3", b"\r\n\r\n"))


@_text
def nesting(text: str, rng: Rng) -> str:
    """A value that is nested a hundred thousand times."""
    opening, closing = pick(rng, ("[]", "{}", ("{a=", "}"), ('{"a":', "}")))
    nested = opening * DEPTH + pick(rng, ("", closing * DEPTH))
    at = int(rng.integers(len(text) + 1))
    return pick(rng, (nested, text[:at] + nested + text[at:], text.replace("1", nested, 1)))


TEXT: Mapping[str, Change] = {"encodings": encodings, "nesting": nesting}


def nodes(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside nested dictionaries and lists."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inside for found in ((*where, key), *nodes(item, (*where, key)))]


def odd_value(rng: Rng, like: Any = None) -> Any:
    """A value that does not belong there: of another type, or out of any range."""
    if rng.random() < 0.3 and like is not None:
        return pick(rng, ([like], {"value": like}, str(like), [like] * 3))
    return copy.deepcopy(pick(rng, pick(rng, (NUMBERS, TEXTS, WHOLE))))


def with_odd_value(content: Any, rng: Rng, only: Callable[[Any], bool] = lambda value: True) -> Any:
    """Nested content in which one value is replaced, left out, added, doubled, or exchanged with another."""
    places = [p for p in nodes(content) if only(p)]
    if not places:
        return odd_value(rng)
    by_depth = pick(rng, sorted({len(p) for p in places}))  # else most would be in the longest list
    *way, key = pick(rng, [p for p in places if len(p) == by_depth])
    holder = content
    for step in way:
        holder = holder[step]
    what = int(rng.integers(8))
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[pick(rng, TEXTS)] = odd_value(rng)
    elif what == 1:
        holder.append(odd_value(rng))
    elif what == 2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif what == 2 and isinstance(holder[key], str) and holder[key]:
        at = int(rng.integers(len(holder[key])))
        holder[key] = holder[key][:at] + pick(rng, "0a/ \0") + holder[key][at + pick(rng, (0, 1)) :]
    elif what == 3:
        holder[key] = copy.deepcopy(content[pick(rng, list(content))] if isinstance(content, dict) else content[0])
    else:
        holder[key] = odd_value(rng, holder[key])
    return content


def json_values(path: Path, rng: Rng) -> None:
    """One value of a JSON file; or a key twice."""
    text = path.read_text(encoding="utf-8")
    if rng.random() < 0.1:
        name = pick(rng, list(json.loads(text)))
        doubled = f"{json.dumps(name)}: {as_json(odd_value(rng))}"
        text = text.rstrip().removesuffix("}") + f", {doubled}}}"
    else:
        text = as_json(with_odd_value(json.loads(text), rng))
    path.write_text(text, encoding="utf-8")


def as_json(value: Any) -> str:
    """JSON with every text escaped, lone surrogates included, and whole numbers of any length."""
    text: str = json.dumps(value)
    return text


JSON: Mapping[str, Change] = {"values": json_values}
