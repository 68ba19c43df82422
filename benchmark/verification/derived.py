"""Checks of published numbers without data or weights: sizes of networks, class weights, rejections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmark import registry, tasks
from benchmark.contracts import Model, Task
from benchmark.data.preparation import model_inputs, preparation
from benchmark.errors import BenchmarkError
from benchmark.metrics import pions
from benchmark.records.published import Published
from benchmark.settings import override
from benchmark.verification.report import Check

# published to 0.1 million; PTv3's other inputs and classes change some 20,000 parameters
SLACK = {46_200_000: 75_000, 22_900_000: 50_000}
REPEATED = "one encoder layer, applied six times"  # the suite's six layers have separate weights
SIZES, REJECTIONS = "parameters of the networks built here", "rejections of the other pion at 90% efficiency"


def derived(rows: Sequence[Published]) -> list[Check]:
    """Every check that needs only the suite itself."""
    return [*_sizes(rows), *_class_weights(rows), *_rejections(rows), *_chance()]


def _sizes(rows: Sequence[Published]) -> Iterable[Check]:
    """Parameters of the paper presets, built here."""
    for row in rows:
        if row.metric != "n_parameters":
            continue
        name = f"parameters: {row.model}, {row.setting} ({row.source})"
        try:
            count = _count_parameters(row)
        except BenchmarkError as error:  # a package of this model is missing
            yield Check(name, True, f"not built: {error}", f"{row.value:,.0f}", noted=True, group=SIZES)
            continue
        slack = SLACK.get(int(row.value), 0)
        within = f" within {slack:,}" if slack else ""
        yield Check(name, abs(count - row.value) <= slack, f"{count:,}", f"{row.value:,.0f}{within}", group=SIZES)


def _count_parameters(row: Published) -> int:
    """Parameters of the network that a row names, built with the published settings on the meta device."""
    import torch

    from benchmark.contracts.torch_model import TorchModel

    with torch.device("meta"):
        model = _build_paper_model(row.model, row.task or "lartpc-segmentation-5")
    if row.setting == "encoder" and isinstance(model, TorchModel):
        return sum(int(p.numel()) for part in model.backbone() for p in part.parameters())
    if row.setting == "pre-training network" and isinstance(model, TorchModel):
        return sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head."))
    if row.setting == REPEATED and isinstance(model, TorchModel):
        _, *repeated_layers = model.get_submodule("encoder").children()
        return model.n_parameters - sum(p.numel() for layer in repeated_layers for p in layer.parameters())
    return model.n_parameters


def _build_paper_model(name: str, task: str) -> Model:
    spec = registry.model_spec(name)
    requested = tasks.task(task)
    config = override(spec.config(), spec.preset("paper", requested.detector).model, "model")
    frame = registry.dataset_spec(requested.dataset).info.frame
    return spec.build_model(config, model_inputs(preparation(requested), frame), requested)


def _class_weights(rows: Sequence[Published]) -> Iterable[Check]:
    """sqrt(total / n_c), scaled to a mean of 1 over voxels, from the published numbers of voxels."""
    voxels = {r.cls: r.value for r in rows if r.metric == "voxels"}
    for name in ("lartpc-segmentation", "lartpc-segmentation-5"):
        task: Task = tasks.task(name)
        if not voxels or task.class_weights is None:
            continue
        counts = np.array([voxels[c] for c in task.classes])
        unscaled = np.sqrt(counts.sum() / counts)
        expected = unscaled / (unscaled * counts).sum() * counts.sum()
        worst = float(np.abs(expected - np.array(task.class_weights)).max())
        weights = " ".join(f"{w:.4f}" for w in task.class_weights)
        expected_weights = " ".join(f"{w:.4f}" for w in expected) + " within 0.00001"
        yield Check(f"class weights of {name}", worst < 1e-5, weights, expected_weights, group="class weights")


def _rejections(rows: Sequence[Published]) -> Iterable[Check]:
    """The rate 1/rejection of each rejection, and the order of models in both regions."""
    rejections = [r for r in rows if r.metric == "rejection_90"]
    for row in rejections:
        rate = 1 / row.value
        yield Check(
            f"rejection {row.value:g}: {row.model}, {row.setting} ({row.source})", 0 < rate < 1 and rate < 0.9,
            f"{100 * rate:.3f}% of the other class kept", "less than the 90% of an uninformative cut",
            group=REJECTIONS,
        )  # fmt: skip
    order = {s: [r.model for r in sorted(rejections, key=lambda r: -r.value) if r.setting == s] for s in
             {r.setting for r in rejections}}  # fmt: skip
    narrow_order = [m for m in order.get("|eta|<0.7", []) if m in order.get("|eta|<3", [])]
    if narrow_order:
        wide_order = [m for m in order["|eta|<3"] if m in narrow_order]
        wide_text, narrow_text = " > ".join(wide_order), " > ".join(narrow_order)
        yield Check(
            "order of models in both regions", narrow_order == wide_order, wide_text, narrow_text, group=REJECTIONS
        )


def _chance() -> Iterable[Check]:
    """Chance level of a random answer, by this suite's own metric: a rejection of 1/0.9 at 90%."""
    n = 20_000
    score = np.random.default_rng(0).random(n)
    label = np.arange(n) % 2
    probabilities = np.stack([1 - score, score], axis=1)
    states = pions.state(probabilities, label, np.full(n, 5.0), np.full(n, 0.1))
    value = float(pions.scores(states, np.ones((1, n)))["overall"]["rejection_90"][0])
    yield Check(
        "rejection of a random answer, by this suite", abs(value - 1 / 0.9) < 0.05, f"{value:.3f}",
        "1/0.9 = 1.111 within 0.05", group=REJECTIONS,
    )  # fmt: skip
