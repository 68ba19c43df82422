"""The preprocessing chain of scans: what each step does, and scans that it refuses by name."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmark.datasets._lif_chain import Chain, process
from benchmark.datasets._lif_files import open_stack
from benchmark.datasets._lif_table import read_table
from benchmark.errors import DataError
from builders.lif_files import make_scan, row_of, write_table

PLAIN = {"z_step_um": 0.0, "margin_um": (0.0, 0.0, 0.0), "blur_voxels": (0.0, 0.0, 0.0), "normalisation": "none",
         "tile": (5, 20, 20)}  # fmt: skip
COUNTS, LABELS = make_scan("chain")


def run(tmp_path, counts=COUNTS, labels=None, table=None, **settings):
    np.save(tmp_path / "a.npy", counts)
    write_table(tmp_path, [row_of("a", "a.npy", **(table or {}))])
    marks = None
    if labels is not None:
        np.save(tmp_path / "labels.npy", labels)
        marks = open_stack(tmp_path / "labels.npy")
    row = read_table(tmp_path / "scans.csv")[0]
    return process(open_stack(row.file), row, Chain(**{**PLAIN, **settings}), marks)


def test_without_any_step_the_numbers_stay_and_are_floats(tmp_path):
    found = run(tmp_path, labels=LABELS)
    assert found.volume.dtype == np.float32
    np.testing.assert_array_equal(found.volume, COUNTS)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert [s.name for s in found.steps] == ["raw", "illuminated", "z step", "margins", "blur", "normalisation"]


def test_the_illuminated_region_comes_from_the_table_or_from_the_image(tmp_path):
    table = {"y_min": 10, "y_max": 80, "x_max": 50}
    found = run(tmp_path, labels=LABELS, table=table)
    np.testing.assert_array_equal(found.volume, COUNTS[:, 10:80, :50])
    np.testing.assert_array_equal(found.labels, LABELS[:, 10:80, :50])
    assert run(tmp_path, table=table, illuminated="none").volume.shape == (12, 90, 50)  # x is not about light
    dark = COUNTS.copy()
    dark[:, :15], dark[:, 70:] = 100, 101
    dark[:, 3] = 100 + np.arange(96) % 2
    assert run(tmp_path, counts=dark, illuminated="auto").steps[1].did["limits"][1] == [15, 70]


def test_finer_slices_are_averaged_and_labels_follow_their_middle(tmp_path):
    fine = {"voxel_z_um": 3.5}
    found = run(tmp_path, labels=LABELS, table=fine, z_step_um=7.0)
    np.testing.assert_allclose(found.volume, COUNTS.reshape(6, 2, 90, 96).mean(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found.labels, LABELS[1::2])
    assert found.voxel_um == (7.0, 0.425, 0.425)
    uneven = run(tmp_path, table={"voxel_z_um": 5.0}, z_step_um=7.0)  # 12 slices of 5 um: 8 of 7 um
    assert uneven.volume.shape[0] == 8
    expected = (COUNTS[0].astype(float) * 5 + COUNTS[1].astype(float) * 2) / 7
    np.testing.assert_allclose(uneven.volume[0], expected, rtol=1e-5)
    with pytest.raises(DataError, match=r"Scan a: its slices are 7 um apart, and 5 um.*z_step_um=7"):
        run(tmp_path, z_step_um=5.0)


def test_margins_are_lengths_on_each_side(tmp_path):
    found = run(tmp_path, margin_um=(15.0, 0.0, 15.0))
    np.testing.assert_array_equal(found.volume, COUNTS[2:10, :, 35:61])


def test_the_blur_is_of_floats_and_keeps_what_lies_below_a_count(tmp_path):
    found = run(tmp_path, blur_voxels=(2.0, 2.0, 2.0)).volume
    np.testing.assert_allclose(found, gaussian_filter(COUNTS.astype(np.float32), 2.0, mode="nearest"), rtol=1e-5)
    whole = gaussian_filter(COUNTS, 2.0, mode="nearest")  # what integers give
    assert len(np.unique(whole)) < 0.05 * len(np.unique(found))


def test_each_scan_is_normalised_by_itself(tmp_path):
    z = run(tmp_path, normalisation="zscore")
    assert z.volume.mean() == pytest.approx(0, abs=1e-4) and z.volume.std() == pytest.approx(1, abs=1e-4)
    assert z.steps[-1].did["level"] == pytest.approx(COUNTS.mean())
    robust = run(tmp_path, normalisation="robust").volume
    assert np.median(robust) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(run(tmp_path, counts=3 * COUNTS + 7, normalisation="zscore").volume, z.volume, atol=1e-3)


def test_bad_slices_are_refused_by_scan_and_number(tmp_path):
    constant = COUNTS.copy()
    constant[4] = 7
    with pytest.raises(DataError, match="Scan a: slice 4 has the value 7 everywhere"):
        run(tmp_path, counts=constant)
    broken = COUNTS.astype(np.float32)
    broken[9, 3, 3:5] = np.nan
    with pytest.raises(DataError, match="Scan a: slice 9 holds 2 values that are not finite"):
        run(tmp_path, counts=broken)
    with pytest.raises(DataError, match=r"no spread|everywhere"):
        run(tmp_path, counts=np.full_like(COUNTS, 3))


def test_a_scan_too_small_for_a_tile_and_labels_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"Scan a: 12 x 90 x 96 voxels are left.*5 x 250 x 250"):
        run(tmp_path, tile=(5, 250, 250))
    with pytest.raises(DataError, match="Scan a: 0 x 90 x 96 voxels are left"):
        run(tmp_path, margin_um=(99.0, 0.0, 0.0))
    with pytest.raises(DataError, match=r"labels labels.npy have the shape \(11, 90, 96\)"):
        run(tmp_path, labels=LABELS[:11])
    with pytest.raises(DataError, match="no whole numbers"):
        run(tmp_path, labels=LABELS + 0.5)
    with pytest.raises(DataError, match="from -1"):
        run(tmp_path, labels=LABELS.astype(np.int16) - 1)


@pytest.mark.parametrize(
    "wrong",
    [{"illuminated": "lamp"}, {"normalisation": "max"}, {"regions": "4d"}, {"split": "tile"}, {"z_step_um": -1.0},
     {"margin_um": (1.0, -1.0, 0.0)}, {"blur_voxels": (np.nan, 1.0, 1.0)}, {"tile": (0, 1, 1)}, {"min_regions": 0},
     {"val_share": 0.6, "test_share": 0.5}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Chain(**wrong)
