"""What a pre-training costs, and whether the package's weights save it: told before it starts."""

from __future__ import annotations

from collections.abc import Iterator

from benchmark.checkpoints.shipped import SHIPPED, Shipped, find_shipped, mismatched_settings, read_pair
from benchmark.errors import CheckpointError
from benchmark.paths import cache_dir
from benchmark.runs.cost_estimate import duration
from benchmark.runs.fingerprint import Identity
from benchmark.training.config import PretrainConfig

# settings in which a checkpoint must be the run's
_INPUTS = ("model.", "preprocess.columns", "preprocess.event_columns", "preprocess.log_eps_mev")


def cost_message(identity: Identity, settings: PretrainConfig, n_events: int) -> str:
    """How much is trained, and about how long it takes. settings: of the pre-training."""
    return (
        f"pre-training {identity.config.method} once, {settings.steps:,} steps on {n_events:,} unlabelled events: "
        f"{_expected_time(identity, settings)}; every label budget will reuse it"
    )


def shipped_message(identity: Identity) -> str:
    """Why the package's weights are not taken, and how to take them; empty where there are none, or they would fit."""
    shipped = _shipped(identity)
    different = [] if shipped is None else _different(shipped, identity)
    if not different:
        return ""
    named = ", ".join(different[:3])
    if any(name.startswith(_INPUTS) for name in different):
        return f"the package's weights do not fit: they differ in {named}"
    return (
        f"the package's weights differ in {named}, so that they are not taken by themselves: --checkpoint {SHIPPED} "
        f"starts from them at once"
    )


def _expected_time(identity: Identity, settings: PretrainConfig) -> str:
    """From the newest earlier pre-training of the same network on the same type of device, by events seen."""
    known = [p for p in _earlier(identity) if p.record["environment"].get("device") == identity.device]
    equal = [p for p in known if not any(name.startswith("model.") for name in _different(p, identity))]
    if not equal:
        return "how long it takes is not known from an earlier one, the progress tells"
    record = max(equal, key=lambda p: str(p.record["created"])).record
    n_seen = (record["steps"] - record.get("resumed_at", 0)) * record["config"]["pretrain"]["batch_size"]
    wall_s = record["wall_s"] * settings.steps * settings.batch_size / max(n_seen, 1)
    machine = record["environment"]
    n_threads = machine.get("threads")
    return f"about {duration(wall_s)}, by an earlier one on {machine.get('device_name')} with {n_threads} threads"


def _earlier(identity: Identity) -> Iterator[Shipped]:
    """The package's pre-training of the model, and those in the cache."""
    shipped = _shipped(identity)
    if shipped is not None:
        yield shipped
    for path in sorted((cache_dir() / "pretrained").glob(f"{identity.config.method}-*/training.json")):
        try:
            yield read_pair(path)
        except CheckpointError:  # of an earlier format, or not finished
            continue


def _shipped(identity: Identity) -> Shipped | None:
    try:
        return find_shipped(identity.request.model, identity.request.pretext)
    except CheckpointError:  # damaged, but not needed
        return None


def _different(pair: Shipped, identity: Identity) -> list[str]:
    c = identity.config
    return mismatched_settings(pair, identity.spec, c.model_config, c.preprocess, c.task, c.dataset, c.pretext)
