"""What tells rows apart that a table would show under one name: the settings in which they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmark.records.record import RunRecord
from benchmark.settings import flat

_SECTIONS = {  # of a record's config: its name in `--set`
    "model_config": "model", "optim": "optim", "train": "train", "pretext_config": "pretext", "pretrain": "pretrain",
    "pretrain_optim": "pretrain_optim", "probe": "probe", "data": "data", "preprocess": "preprocess",
}  # fmt: skip
_SHOWN = ("train.steps",)  # that have a column of their own
_STEPS, _EVENTS = "pretrain.steps", "pretrain.events"


def differing_settings(records: Sequence[RunRecord]) -> list[str]:
    """`pretext.cube=6, pretrain.steps=1500` for each record; empty where its name is enough.

    Records are compared with those of the same model, pretext, preset, mode and budget. A value that most of these have
    goes without saying, and so does a setting that one of them does not know.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, record in enumerate(records):
        c = record.config
        groups.setdefault((record.method, c["preset"], c["mode"], record.labels), []).append(i)
    texts = [""] * len(records)
    for members in groups.values():
        settings = [_settings(records[i]) for i in members]
        known = set.intersection(*(set(s) for s in settings))
        differing = sorted(name for name in known if len({_text(s[name]) for s in settings}) > 1)
        usual = {name: _most([_text(s[name]) for s in settings]) for name in differing}
        for i, of_record in zip(members, settings, strict=True):
            told = [f"{name}={_text(of_record[name])}" for name in differing if _text(of_record[name]) != usual[name]]
            texts[i] = ", ".join(told)
    return texts


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
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _most(texts: Sequence[str]) -> str | None:
    """The text of more than half; None without one."""
    text, n = Counter(texts).most_common(1)[0]
    return text if 2 * n > len(texts) else None
