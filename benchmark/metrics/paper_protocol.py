"""A publication's segmentation scores, where they differ from the suite's. Never in a column with the suite's.

The code of PoLAr-MAE (arXiv:2502.02558, at 2fd3b80) scores each validation batch of 32 events in file order separately
(torchmetrics) and averages over the batches, weighted by their numbers of events. So a score depends on the order and
size of the batches, and rare classes of a batch have the weight of common ones. The table of the paper is
consistent with scores over all voxels, as the suite's are; these are for comparison with training logs.
"""

from __future__ import annotations

import numpy as np

from benchmark.metrics.segmentation import scores_from_counts

BATCH_SIZE = 32  # events, of the published validation
SCORES = ("macro_f1", "macro_precision", "macro_recall", "accuracy")


def mean_over_batches(counts: np.ndarray, batch_size: int = BATCH_SIZE) -> dict[str, float]:
    """`<score>_mean_over_batches` of (B, C, C) confusion counts per event, in file order.

    Within a batch, a class that is absent from truth and prediction is left out of the macro mean, as in torchmetrics;
    a batch without any counted point scores 0.
    """
    counts = np.asarray(counts)
    starts = np.arange(0, len(counts), batch_size)
    sizes = np.diff([*starts, len(counts)])  # events of each batch
    scores = scores_from_counts(np.add.reduceat(counts, starts, axis=0))
    return {
        f"{name}_mean_over_batches": float(np.average(np.nan_to_num(scores[name]), weights=sizes)) for name in SCORES
    }
