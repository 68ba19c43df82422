"""The learning-rate schedule is the published one."""

import numpy as np
import pytest

from benchmark.contracts import OptimConfig
from benchmark.training.module import lr_factor

PAPER = OptimConfig(lr=1e-4, final_lr_fraction=0.086)


@pytest.mark.parametrize(("n_steps", "fraction"), [(500_000, 0.025), (100_000, 0.125)])
def test_warm_up_and_cosine_equal_the_references(shared_dir, n_steps, fraction):
    golden = np.load(shared_dir / "reference/polarmae/golden/unit_cases.npz")
    optim = OptimConfig(lr=1e-4, final_lr_fraction=0.086, warmup_fraction=fraction)
    steps, expected = golden[f"lr_steps_max{n_steps}"], golden[f"lr_values_max{n_steps}"]
    found = [optim.lr * lr_factor(int(step), n_steps, optim) for step in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_rate_starts_low_peaks_after_warm_up_and_ends_low():
    factors = [lr_factor(step, 100, PAPER) for step in range(101)]
    assert factors[0] == pytest.approx(0.086)
    assert factors[9:11] == pytest.approx([1.0, 1.0])
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.086)
    assert np.all(np.diff(factors[10:]) <= 0)


def test_no_warm_up_starts_at_the_peak_and_a_constant_stays_there():
    optim = OptimConfig(warmup_fraction=0.0, schedule="constant")
    assert {lr_factor(step, 50, optim) for step in range(50)} == {1.0}


def test_cycles_return_to_the_floor():
    optim = OptimConfig(warmup_fraction=0.1, schedule="cyclical", final_lr_fraction=0.2)
    factors = [lr_factor(step, 100, optim) for step in (0, 10, 20, 30)]
    assert factors == pytest.approx([0.2, 1.0, 0.2, 1.0])
