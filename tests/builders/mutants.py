"""JSON files changed at random, as a careless or malicious stranger would: wrong kinds, sizes, names, bytes."""

import base64
import copy
import json
import zlib

VALUES = (
    None, True, "", "text", 300 * "x", "$\\frac{", "<script>", "=cmd|' /C calc'!A0", "../../x", "evil.py", "a\x1b[31mb",
    -1, 0, 2**31, 2**63, 10**400, 1e308, -1e308, 1.5, [], {}, [[]], [1, [2]], {"value": "a"}, [None], ["a"],
)  # fmt: skip
RAW = ("NaN", "-Infinity", "1e999", 3000 * "[" + 3000 * "]", '"\\ud800"', 5000 * "9")  # what json does not write
NAMES = ("x", "", "$a_b", 300 * "a", "<b>")


def _paths(value, before=()):
    if before:
        yield before
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*before, key))


def mutant(rng, values):
    """The text of `values` with one to three random changes. rng: `random.Random`."""
    values, raw = copy.deepcopy(values), {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = list(_paths(values))
        if rng.random() < 0.35:
            paths = [p for p in paths if len(p) <= 2] or paths
        if not paths:
            break
        *before, key = rng.choice(paths)
        place = values
        for name in before:
            place = place[name]
        _change(rng, place, key, raw, values)
    text = json.dumps(values)
    for mark, content in raw.items():
        text = text.replace(f'"{mark}"', content)
    return text


def _change(rng, place, key, raw, values):
    kind = rng.choice(("set", "set", "set", "raw", "delete", "double", "rename", "bomb"))
    if kind == "set":
        place[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind == "raw":
        place[key] = f"raw {len(raw)}"
        raw[place[key]] = rng.choice(RAW)
    elif kind == "delete":
        del place[key]
    elif kind == "double" and isinstance(place[key], list):
        place[key] = [*place[key], *place[key], None]
    elif kind == "rename" and isinstance(place, dict):
        place[rng.choice(NAMES)] = place.pop(key)
    elif kind == "bomb" and isinstance(values.get("per_event"), dict):
        n_bytes = rng.choice((10**6, 10**7))
        values["per_event"] |= {"data": bomb(n_bytes), "shape": [n_bytes // 64, 4, 4]}


def bomb(n_bytes):
    """Zeros, packed a thousandfold."""
    return base64.b64encode(zlib.compress(bytes(n_bytes), 9)).decode()


def broken(rng, text):
    """The bytes of a text, cut or with some bytes replaced."""
    content = bytearray(text.encode())
    if rng.random() < 0.3:
        return bytes(content[: rng.randrange(len(content))])
    for _ in range(rng.choice((1, 3, 10))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)
