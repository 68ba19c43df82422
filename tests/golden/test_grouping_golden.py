"""Grouping equals the reference's, index by index, on the stored public events (lattice ties included)."""

import numpy as np
import pytest

from benchmark.ops.cnms import suppress
from benchmark.ops.fps import farthest_points
from benchmark.ops.grouping import GroupingConfig, group_event, thin
from benchmark.ops.neighbours import ball_query

VOXEL = 1.0 / (384.0 * 3.0**0.5)  # one voxel in normalised units

CNMS_CASES = [
    ("5", "0.73", "256"), ("5", "0.72", "256"), ("5", "0.5", "256"), ("5", "1.0", "256"), ("4.9", "0.73", "256"),
    ("2.5", "0.73", "256"), ("3", "0.9", "256"), ("10", "0.6", "256"), ("5", "0.73", "64"), ("5", "0.73", "all"),
]  # fmt: skip


@pytest.fixture(scope="module")
def golden(shared_dir):
    folder = shared_dir / "reference" / "polarmae" / "golden"
    if not (folder / "public_grouping.npz").is_file():
        pytest.skip(f"no golden grouping set under {folder}")
    batch = np.load(folder / "public_batch.npz")
    events = [batch["points_norm"][e, :n] for e, n in enumerate(batch["lengths"])]
    return events, np.load(folder / "public_grouping.npz")


def test_farthest_points_equal_the_reference(golden):
    events, stored = golden
    for e, points in enumerate(events):
        for name, n_select in (("fps2048_idx", 2048), ("fps256_idx", 256)):
            expected = stored[name][e]
            assert np.array_equal(farthest_points(points[:, :3], n_select), expected[expected >= 0])
        start = int(stored["fps_start"][e])
        assert np.array_equal(farthest_points(points[:, :3], 256, start), stored["fps256_custom_start_idx"][e])


@pytest.mark.parametrize(("radius", "overlap", "cap"), CNMS_CASES)
def test_suppression_keeps_the_same_centres(golden, radius, overlap, cap):
    events, stored = golden
    name = f"cnms_r{radius}_f{overlap}_K{cap}"
    limit = None if cap == "all" else int(cap)
    for e, points in enumerate(events):
        kept, scores = suppress(points[:, :3], float(radius) * VOXEL, float(overlap), limit)
        assert np.array_equal(kept, stored[f"{name}_idx"][e, : stored[f"{name}_len"][e]])
        if f"{name}_neighbour_counts" in stored.files:
            assert np.array_equal(scores, stored[f"{name}_neighbour_counts"][e, : len(points)])


def test_suppression_of_sampled_seeds_keeps_the_same_centres(golden):
    events, stored = golden
    for e, points in enumerate(events):
        seeds = farthest_points(points[:, :3], 2048)
        kept, _ = suppress(points[seeds, :3], 5 * VOXEL, 0.73, 2048)
        n = stored["fps2048_then_cnms_r5_f0.73_len"][e]
        assert np.array_equal(kept, stored["fps2048_then_cnms_r5_f0.73_seedpos"][e, :n])
        assert np.array_equal(seeds[kept], stored["fps2048_then_cnms_r5_f0.73_idx"][e, :n])


@pytest.mark.parametrize(("name", "overlap"), [("f73", 0.73), ("f72", 0.72)])
def test_groups_equal_the_reference(golden, name, overlap):
    events, stored = golden
    config = GroupingConfig(5 * VOXEL, overlap, max_candidate_neighbours=256, max_ball=256)
    for e, points in enumerate(events):
        groups = group_event(points[:, :3], config)
        n = stored[f"{name}_n_groups"][e]
        assert len(groups.centres) == n
        assert np.array_equal(groups.centres, stored[f"{name}_center_idx"][e, :n])
        assert np.array_equal(groups.mask, stored[f"{name}_point_mask"][e, :n])
        assert np.array_equal(np.where(groups.mask, groups.indices, -1), stored[f"{name}_reduced_idx"][e, :n])
        assert np.array_equal(groups.indices, stored[f"{name}_filled_idx"][e, :n])
        balls = ball_query(points[groups.centres, :3], points[:, :3], 5 * VOXEL, 256)
        assert np.array_equal(balls.padded(256), stored[f"{name}_ball_idx"][e, :n])


@pytest.mark.parametrize("radius", ["4.9", "5.05"])
def test_groups_equal_the_reference_at_radii_without_lattice_ties(golden, radius):
    events, stored = golden
    for e, points in enumerate(events):
        centres = stored[f"notie_r{radius}_center_idx"][e].astype(np.int64)
        balls = ball_query(points[centres, :3], points[:, :3], float(radius) * VOXEL, 256)
        expected = stored[f"notie_r{radius}_ball_idx"][e]
        n = int((expected[:, 0] >= 0).sum())  # later rows are empty slots
        assert np.array_equal(balls.padded(256)[:n], expected[:n])
        indices, mask = thin(points[:, :3], balls, 32)
        reduced = np.where(mask, indices, -1)
        assert np.array_equal(reduced[:n], stored[f"notie_r{radius}_reduced_idx"][e, :n])
