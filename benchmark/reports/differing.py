"""What tells rows apart that a table would show under one name: the settings in which they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.records.record import RunRecord
from benchmark.settings import flat

_SECTIONS = {  # of a record's config: its name in `--set`
    "model_config": "model", "optim": "optim", "train": "train", "pretext_config": "pretext", "pretrain": "pretrain",
    "pretrain_optim": "pretrain_optim", "probe": "probe", "data": "data", "preprocess": "preprocess",
}  # fmt: skip
_SHOWN = ("train.steps",)  # that have a column of their own
LONGEST = 60  # letters of a value
_STEPS, _EVENTS = "pretrain.steps", "pretrain.events"


def differing_settings(records: Sequence[RunRecord], each_run: bool = False) -> list[str]:
    """`pretext.cube=6, pretrain.steps=1500` for each record; empty where its name is enough.

    Records are compared with those of the same model, pretext, preset, mode and budget; `each_run`: of the same draw
    and seed. A value that most of these have goes without saying, and so does a setting in which those that know it
    agree. Where neither settings nor steps tell two records apart, the origin of their weights does, or else the
    fingerprint.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, record in enumerate(records):
        c = record.config
        repetition = (str(c["draw"]), str(c["seed"])) if each_run else ()
        groups.setdefault((record.method, c["preset"], c["mode"], record.labels, *repetition), []).append(i)
    texts = [""] * len(records)
    for members in groups.values():
        alike = [records[i] for i in members]
        told = _told_apart([{k: _text(v) for k, v in _settings(record).items()} for record in alike])
        for describe in (_origin, lambda record: f"run {record.fingerprint[:6]}"):
            told = _told_further(told, alike, [describe(record) for record in alike])
        for i, text in zip(members, told, strict=True):
            texts[i] = text
    return texts


def _told_further(told: Sequence[str], records: Sequence[RunRecord], further: Sequence[str]) -> list[str]:
    """The texts, with the further ones behind those of equal text and steps where they differ."""
    keys = [(text, record.training.get("steps")) for text, record in zip(told, records, strict=True)]
    differ = {key for key in keys if len({f for k, f in zip(keys, further, strict=True) if k == key}) > 1}
    return [
        ", ".join(filter(None, (text, more))) if key in differ else text
        for text, key, more in zip(told, keys, further, strict=True)
    ]


def _told_apart(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """For each of some rows the settings in which it differs from most of them."""
    names = sorted({name for s in settings for name in s})
    values = {name: [s[name] for s in settings if name in s] for name in names}
    usual = {name: _most(texts) for name, texts in values.items() if len(set(texts)) > 1}
    return [
        ", ".join(f"{name}={s[name]}" for name, most in usual.items() if name in s and s[name] != most)
        for s in settings
    ]


def _origin(record: RunRecord) -> str:
    """Where the weights come from that a training started from."""
    c = record.config
    if c.get("checkpoint_sha256"):
        return f"checkpoint {str(c['checkpoint_sha256'])[:6]}"
    return "weights that ship" if c.get("weights") else "pre-trained" if c.get("pretrain") else ""


def _settings(record: RunRecord) -> dict[str, Any]:
    """`section.name` -> value; steps and events of the pre-training also of shipped weights."""
    c = record.config
    found = {
        f"{section}.{name}": value
        for key, section in _SECTIONS.items()
        if isinstance(c.get(key), dict)
        for name, value in flat(c[key]).items()
    }
    loss = (c.get("task") or {}).get("loss")
    found |= {f"loss.{name}": value for name, value in (loss if isinstance(loss, dict) else {}).items()}
    if record.pretraining_steps:
        found |= {_STEPS: record.pretraining_steps, _EVENTS: record.events.get("unlabelled")}
    return {name: value for name, value in found.items() if name not in _SHOWN}


def _text(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _most(texts: Sequence[str]) -> str | None:
    """The text of more than half; None without one."""
    text, n = Counter(texts).most_common(1)[0]
    return text if 2 * n > len(texts) else None
