"""The token probe: how well a linear SVM reads the classes of points from the features of a frozen encoder's tokens.

A token holds a class where one of its member points has it, so a token may hold several: one yes-or-no SVM per class,
on principal components of the features. Two protocols:

- `clean`, the default: the events of the label budget, all their tokens (of more than `max_tokens`, a random sample);
  features standardised, since the SVM's penalty depends on their scale; scored on every
  token of the test split from counts that add up over events.
- `published`: what the code of PoLAr-MAE (arXiv:2502.02558, at 2fd3b80) does during pre-training: the first
  `max_tokens` tokens of the training split in file order, scored on the first of the validation split, in batches of 4
  events. (The paper's Table 1 speaks of 30 validation events.) Its principal components came from an approximate solver
  without a seed; here they are exact, which moved its scores by less than 0.01 in F1.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import Model, PointBatch
from benchmark.data.stream import EventSet, numbered
from benchmark.errors import BenchmarkError, DataError
from benchmark.evaluation.evaluate import Evaluation
from benchmark.metrics.families import family, report
from benchmark.metrics.multilabel import multilabel_counts, scores_from_counts
from benchmark.progress import progress
from benchmark.seeding import generator
from benchmark.training.config import ProbeConfig

if TYPE_CHECKING:
    from benchmark.contracts.token_model import TokenModel

PUBLISHED_BATCH = 4  # events; under the published norm over a whole batch, it changes the features


@dataclass(frozen=True)
class Tokens:
    """T tokens of some events of a set, event after event."""

    features: np.ndarray  # (T, D) float32
    labels: np.ndarray  # (T, C) bool: which classes the token's points have
    event: np.ndarray  # (T,) int64 position of the token's event in the set

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: np.ndarray | slice) -> Tokens:
        return Tokens(self.features[rows], self.labels[rows], self.event[rows])


@dataclass(frozen=True)
class LinearProbe:
    """Fitted scaler (optional), principal components, and one linear SVM per class."""

    scaler: Any  # sklearn.preprocessing.StandardScaler, or None
    pca: Any  # sklearn.decomposition.PCA
    svm: Any  # sklearn.multiclass.OneVsRestClassifier
    converged: bool  # whether every SVM reached its tolerance

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(T, C) bool of (T, D) features."""
        if len(features) == 0:
            return np.zeros((0, len(self.svm.estimators_)), bool)
        scaled = features if self.scaler is None else self.scaler.transform(features.astype(np.float64))
        return np.asarray(self.svm.predict(self.pca.transform(scaled)), dtype=bool)


def fit_probe(features: np.ndarray, labels: np.ndarray, config: ProbeConfig) -> LinearProbe:
    """Fit to (T, D) features and (T, C) labels. A class without tokens is never predicted."""
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    features = features.astype(np.float64)
    scaler = StandardScaler().fit(features) if config.protocol == "clean" else None
    features = features if scaler is None else scaler.transform(features)
    pca = PCA(min(config.components, *features.shape), svd_solver="full").fit(features)
    svm = OneVsRestClassifier(LinearSVC(C=config.c, class_weight="balanced", random_state=0))
    with warnings.catch_warnings(record=True) as warnings_seen:
        warnings.simplefilter("always")  # about classes that all or no tokens hold; and ConvergenceWarning
        svm.fit(pca.transform(features), labels.astype(np.int8))
    return LinearProbe(scaler, pca, svm, not any(issubclass(w.category, ConvergenceWarning) for w in warnings_seen))


def probe(
    model: Model, labelled: EventSet, scored: EventSet, config: ProbeConfig, batch_size: int, draw: int,
    rng: np.random.Generator,
) -> Evaluation:  # fmt: skip
    """Fit the probe to tokens of `labelled`, score it on tokens of `scored`. `rng` resamples events for the intervals.

    `labelled` is the whole training split under the published protocol. `draw` selects tokens where there are too many.
    Raises DataError without tokens, BenchmarkError for features that are not finite.
    """
    if config.protocol == "published":
        train = first_tokens(model, labelled, config.max_tokens)
    else:
        train = sampled_tokens(model, labelled, batch_size, config.max_tokens, draw)
    started = time.perf_counter()
    fitted = fit_probe(train.features, train.labels, config)
    fit_s = time.perf_counter() - started
    count = _published_counts if config.protocol == "published" else _clean_counts
    started = time.perf_counter()
    counts = count(model, fitted, scored, config, batch_size)
    wall_s = time.perf_counter() - started
    metrics = report(family("multilabel"), counts, scored.task, rng, numbered(scored.units[: len(counts)]))
    n_train_events = len(np.unique(train.event))
    details = {
        "n_tokens": len(train),
        "n_events": n_train_events,
        "support": {c: int(n) for c, n in zip(scored.task.classes, train.labels.sum(axis=0), strict=True)},
        "n_components": int(fitted.pca.n_components_),
        "explained_variance": float(fitted.pca.explained_variance_ratio_.sum()),
        "converged": fitted.converged,
        "fit_s": round(fit_s, 2),
    }
    events = {"labelled": n_train_events, "test": len(counts)} if config.protocol == "published" else {}
    return Evaluation(metrics, counts, wall_s, details, events)


def probe_score(model: Model, train: EventSet, held_out: EventSet, config: ProbeConfig) -> dict[str, float]:
    """Scores during pre-training: the first `max_tokens` tokens of `train` fitted, those of `held_out` scored.

    Macro and per-class F1 and subset accuracy, without those that are undefined. Only as many events are encoded as
    needed; 3,000 tokens take about a second on one core.
    """
    train_tokens, test_tokens = (first_tokens(model, events, config.max_tokens) for events in (train, held_out))
    fitted = fit_probe(train_tokens.features, train_tokens.labels, config)
    counts = multilabel_counts(
        fitted.predict(test_tokens.features), test_tokens.labels, np.array([0, len(test_tokens)])
    )
    values = scores_from_counts(counts[0])
    scores = {"macro_f1": float(values["macro_f1"]), "subset_accuracy": float(values["subset_accuracy"])}
    scores |= {f"f1_{name}": float(f1) for name, f1 in zip(held_out.task.classes, values["f1"], strict=True)}
    return {name: value for name, value in scores.items() if not np.isnan(value)}


def n_probed_parameters(model: Model) -> int:
    """Parameters of the encoder that is probed."""
    return sum(p.numel() for module in _token_model(model).backbone() for p in module.parameters())


def first_tokens(model: Model, events: EventSet, max_tokens: int) -> Tokens:
    """The first tokens of the set, in the order of its event ids; no more events are encoded than needed."""
    parts: list[Tokens] = []
    with progress("encoding tokens", max_tokens) as bar:
        for start in range(0, len(events), PUBLISHED_BATCH):
            positions = np.arange(start, min(start + PUBLISHED_BATCH, len(events)))
            parts.append(_encode(model, events.batch(positions), positions, events.task.n_outputs))
            n_tokens = sum(map(len, parts))
            bar.update(min(n_tokens, max_tokens))
            if n_tokens >= max_tokens:
                break
    return _concatenate(parts, events)[slice(max_tokens)]


def sampled_tokens(model: Model, events: EventSet, batch_size: int, max_tokens: int, draw: int) -> Tokens:
    """All tokens of the set, or `max_tokens` of them at random, in the order of event ids.

    Every token gets a random number that depends on its own event and `draw` alone, and the smallest ones stay: so
    the result is independent of batches and their order, and memory is bounded.
    """
    ids = events.event_ids
    parts, keys = [], []
    for tokens in _encode_batches(model, events, batch_size, "encoding tokens of the labelled events"):
        parts.append(tokens)
        keys.append(_random_keys(tokens.event, ids, draw))
        if sum(map(len, keys)) > 2 * max_tokens:
            parts, keys = _select_smallest(parts, keys, max_tokens, events)
    (sample,), _ = _select_smallest(parts, keys, max_tokens, events)
    return sample[np.argsort(sample.event, kind="stable")]


def token_labels(token: np.ndarray, point: np.ndarray, target: np.ndarray, n_tokens: int, n_classes: int) -> np.ndarray:
    """(T, C) bool: class present among the token's members.

    token, point: (M,) memberships. target: (N,) classes 0..C-1 per point; others do not count.
    """
    labels = np.zeros((n_tokens, n_classes), bool)
    member = target[point]
    counted = (member >= 0) & (member < n_classes)
    labels[token[counted], member[counted]] = True
    return labels


def _clean_counts(
    model: Model, fitted: LinearProbe, scored: EventSet, config: ProbeConfig, batch_size: int
) -> np.ndarray:
    """(n_events, C + 1, 4) counts over all tokens of all events."""
    counts = np.zeros((len(scored), scored.task.n_outputs + 1, 4), np.int64)
    for tokens in _encode_batches(model, scored, batch_size, "scoring the tokens of the test split"):
        _fill_counts(fitted, tokens, counts)
    return counts


def _published_counts(
    model: Model, fitted: LinearProbe, scored: EventSet, config: ProbeConfig, batch_size: int
) -> np.ndarray:
    """The same over the first tokens; later events have no row."""
    tokens = first_tokens(model, scored, config.max_tokens)
    counts = np.zeros((int(tokens.event[-1]) + 1, scored.task.n_outputs + 1, 4), np.int64)
    _fill_counts(fitted, tokens, counts)
    return counts


def _fill_counts(fitted: LinearProbe, tokens: Tokens, counts: np.ndarray) -> None:
    """Fill the rows of these tokens' events."""
    ordered = tokens[np.argsort(tokens.event, kind="stable")]
    events, starts = np.unique(ordered.event, return_index=True)
    offsets = np.append(starts, len(ordered)) if len(ordered) else np.zeros(1, np.int64)
    counts[events] = multilabel_counts(fitted.predict(ordered.features), ordered.labels, offsets)


def _encode_batches(model: Model, events: EventSet, batch_size: int, title: str) -> Iterator[Tokens]:
    done = 0
    with progress(title, len(events)) as bar:
        for positions in events.positions_by_size(batch_size):
            batch = events.batch(positions)
            yield _encode(model, batch, positions, events.task.n_outputs)
            done += batch.n_events
            bar.update(done)


def _encode(model: Model, batch: PointBatch, positions: np.ndarray, n_classes: int) -> Tokens:
    """Tokens of a labelled batch; the model sees no label. positions: (B,) of its events in their set."""
    encoder = _token_model(model)
    device = next(encoder.parameters()).device
    token_features = encoder.token_features(batch.without_target().to_torch(device))
    features = token_features.features.float().cpu().numpy()
    token, point = token_features.token.cpu().numpy(), token_features.point.cpu().numpy()
    wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(wrong):
        raise BenchmarkError(
            f"The features of {len(wrong)} of {len(features)} tokens are not finite. Finite features were expected. "
            f"The pre-training probably diverged: type for example --set pretrain_optim.lr=1e-4."
        )
    labels = token_labels(token, point, np.asarray(batch.target), len(features), n_classes)
    return Tokens(features, labels, np.repeat(positions, token_features.lengths))


def _token_model(model: Model) -> TokenModel:
    from benchmark.contracts.token_model import TokenModel

    if not isinstance(model, TokenModel):
        raise BenchmarkError(
            f"{type(model).__name__} has no tokens. A TokenModel was expected. Derive it from "
            f"benchmark.contracts.TokenModel, or take `token` out of its levels."
        )
    return model


def _random_keys(event: np.ndarray, ids: Sequence[str], draw: int) -> np.ndarray:
    """(T,) a random number per token, from its event's own stream."""
    keys = np.empty(len(event))
    for position in np.unique(event):
        rows = event == position
        keys[rows] = generator("probe tokens", draw, ids[position]).random(int(rows.sum()))
    return keys


def _select_smallest(
    parts: list[Tokens], keys: list[np.ndarray], n_tokens: int, events: EventSet
) -> tuple[list[Tokens], list[np.ndarray]]:
    """The tokens with the smallest keys, in unchanged order."""
    tokens, key = _concatenate(parts, events), np.concatenate(keys)
    rows = np.sort(np.argsort(key, kind="stable")[:n_tokens])
    return [tokens[rows]], [key[rows]]


def _concatenate(parts: list[Tokens], events: EventSet) -> Tokens:
    if not sum(map(len, parts)):
        raise DataError(
            f"The {len(events)} events have no token. At least one was expected. Check the settings of the model's "
            f"tokens and the cuts (`preprocess`)."
        )
    return Tokens(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("features", "labels", "event")))
