"""Studies of volumes and of models on them: preprocessing, regions, features, attention, reconstruction, masks."""

import csv
import json

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.errors import ConfigError
from benchmark.studies.encoders import EncoderRequest, open_volume_encoders
from benchmark.studies.masking import Plan, shares
from benchmark.studies.tile_pictures import from_above, shades
from benchmark.studies.volume_features import features_of, with_track
from builders.lif_files import CHAIN, write_folder

DATA = [part for name, value in CHAIN.items() for part in ("--set", f"data.{name}={value}".replace(" ", ""))]
TINY = ["--preset", "tiny", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("volumes") / "scans", scans=("a", "b", "c"))


@pytest.fixture(scope="module")
def weights(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("weights") / "w.safetensors"
    where = ["--task", "lif-segmentation", "--dataset", "lif-scans", "--data", str(folder), "--out", str(out)]
    main(["pretrain", "--model", "volume_mae", *where, *TINY, *DATA, "--set", "pretrain.steps=3"])
    return out


def study(name, folder, out, *more):
    main(["study", name, "--dataset", "lif-scans", "--data", str(folder), "--out", str(out), *more])
    with (out / f"{name}.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert (out / f"{name}.png").stat().st_size > 5000
    return rows, json.loads((out / f"{name}.json").read_text())


def plain(settings):
    """`--set` of a dataset's own command, which has one section."""
    return [s.removeprefix("data.") for s in settings]


def test_the_steps_of_a_scan_are_shown(folder, tmp_path):
    rows, about = study("preprocessing", folder, tmp_path, "--scan", "b", *plain(DATA))
    assert [r["step"] for r in rows] == ["raw", "illuminated", "z step", "margins", "blur", "normalisation"]
    assert (rows[0]["slices"], rows[-1]["columns"]) == ("12", "86")
    assert about["settings"]["scan"] == "b" and about["findings"] == {"tiles": 32, "kept": 32}


def test_candidate_regions_are_compared_by_the_truth(folder, tmp_path):
    rows, about = study("regions", folder, tmp_path, *plain(DATA))
    assert {r["method"] for r in rows} == {"2-D projection (published)", "3-D"}
    kept = [float(r["kept_with_track"]) for r in rows if r["method"] == "3-D"]
    assert kept == sorted(kept, reverse=True)
    assert about["findings"]["tiles"] == 96 and about["findings"]["tracks"] > 0


def test_datasets_that_are_not_cut_from_scans_are_refused(tmp_path, capsys):
    from benchmark.studies.preprocessing import check_tiles

    class Other:
        class info:
            name = "lartpc-sim"

    with pytest.raises(ConfigError, match="lartpc-sim has no scans"):
        check_tiles(Other())


def test_reconstructions_attention_and_features_of_a_pretrained_model(folder, weights, tmp_path):
    of_model = ["--model", "volume_mae", "--checkpoint", str(weights), *TINY, *DATA]
    rows, about = study("reconstruction", folder, tmp_path, "--event", "0-1", *of_model)
    assert [int(r["hidden_tokens"]) for r in rows] == [2, 2]  # 40% of 4, rounded
    assert float(rows[1]["mse_background_harmonic"]) > 0
    assert set(about["findings"]) >= {"skill_all", "skill_signal", "ssim"}
    rows, _ = study("attention", folder, tmp_path, "--event", "2", *of_model)
    assert len(rows) == 2 * (2 + 1)  # layers x (heads and their mean)
    assert all(1 <= float(r["effective_tokens"]) <= 4.001 for r in rows)
    assert all(-1 <= float(r["correlation_with_other_tiles"]) <= 1 for r in rows)
    rows, _ = study("attention", folder, tmp_path, "--layer", "1", "--head", "mean", "--token", "3", *of_model)
    assert [(r["layer"], r["head"], r["token"]) for r in rows] == [("1", "mean", "3")]
    rows, _ = study("features", folder, tmp_path, "--event", "0-1", "--fit-events", "4", *of_model)
    assert [r["encoder"] for r in rows] == ["untrained", "pre-trained"]
    assert all(0 <= float(r["variance_from_position"]) <= 1 for r in rows)


@pytest.mark.parametrize("wrong", [["--layer", "9"], ["--head", "7"], ["--token", "99"], ["--point", "1,2,3"]])
def test_what_a_model_does_not_have_is_refused(wrong, folder, weights, tmp_path, capsys):
    of_model = ["--model", "volume_mae", "--checkpoint", str(weights), *TINY, *DATA]
    with pytest.raises(SystemExit) as end:
        study("attention", folder, tmp_path, *of_model, *wrong)
    assert end.value.code == 2
    assert wrong[0].strip("-") in capsys.readouterr().err


def test_masks_are_compared_by_training_once_for_each(folder, tmp_path):
    few = ["--ratios", "0.25,0.5", "--steps", "2", *TINY, *DATA]
    rows, about = study("masking", folder, tmp_path, "--model", "volume_mae", *few)
    assert [(r["mask"], r["ratio"]) for r in rows] == [
        ("random", "0.25"), ("random", "0.5"), ("stratified", "0.25"), ("stratified", "0.5"),
    ]  # fmt: skip
    assert all(float(r["harmonic_mse_all"]) > 0 for r in rows)
    assert len(set(about["settings"]["fingerprints"])) == 4


def test_ratios_are_numbers_between_0_and_1():
    assert shares("0.2,0.4") == (0.2, 0.4)
    for wrong in ("", "a", "0.2,1.5"):
        with pytest.raises(ConfigError, match="expected"):
            shares(wrong)
    assert "preprocess.mask=stratified" in Plan().request(0.4, "stratified", 0).assignments


def test_tokens_with_tracks_and_views_from_above(folder, weights):
    settings = tuple(s for s in DATA if s != "--set")
    asked = EncoderRequest(
        "volume_mae", weights, "tiny", "lif-scans", folder, device="cpu", threads=1, assignments=settings
    )
    bench = open_volume_encoders(asked)
    batch = next(iter(bench.choose([0])))
    truth = np.asarray(batch.volumes.target)[0]
    expected = truth.reshape(5, 2, 10, 2, 10).max(axis=(0, 2, 4))[None]
    np.testing.assert_array_equal(with_track(batch, (1, 2, 2)), expected)
    assert features_of(bench.trained, batch, "cpu").shape == (1, 2, 2, 24)
    volume = np.asarray(batch.volumes.values)[0]
    np.testing.assert_array_equal(from_above(volume), volume.max(axis=0))
    low, high = shades(volume)
    assert low < np.median(volume.max(axis=0)) < high
