"""Stored predictions are compared with new ones; agreement passes, disagreement fails, bad files are one sentence."""

import json

import numpy as np
import pytest

from benchmark.checkpoints.load import open_released
from benchmark.cli import main
from benchmark.contracts import PointBatch
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError, DataError
from benchmark.verification.stored_predictions import read_stored_event, verify_predictions
from builders import released_files as released

N = 240


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "released.ckpt"
    return open_released(released.write(path, released.content()), "polarmae")


@pytest.fixture(scope="module")
def stored(checkpoint):
    """An event with the classes that the model itself predicts, made without the code under test; 40 points without."""
    rng = np.random.default_rng(4)
    coords = np.unique(rng.integers(300, 330, (2 * N, 3)), axis=0)
    coords = coords[rng.permutation(len(coords))[:N]].astype(np.int32)
    energy = rng.lognormal(0, 0.5, N).astype(np.float32) + np.float32(0.13)
    evaluated = np.arange(N) % 6 != 0
    low, high = np.log10(0.13), np.log10(20.13)
    scaled = (2 * (np.log10(energy + np.float32(0.13)) - low) / (high - low) - 1).astype(np.float32)
    batch = PointBatch(
        coords=coords[evaluated].astype(np.float32), energy=energy[evaluated], feats=scaled[evaluated][:, None],
        offsets=np.array([0, evaluated.sum()]), event_ids=("e",), columns=("log_energy",), frame=released.FRAME,
    )  # fmt: skip
    predicted = np.full(N, -9, dtype=np.int32)
    predicted[evaluated] = checkpoint.build().predict(batch).argmax(1)
    truth = np.where(evaluated, np.arange(N) % 4, 4).astype(np.int32)
    return {"coords": coords, "energy_MeV": energy, "motif": truth, "model_pred": predicted}


def written(path, values, **changes):
    np.savez_compressed(path, **{k: v for k, v in {**values, **changes}.items() if v is not None})
    return path


def test_the_models_own_predictions_agree(checkpoint, stored, tmp_path):
    report = verify_predictions(checkpoint, read_stored_event(written(tmp_path / "e.npz", stored)), 1.0)
    assert report.passed
    n = N - N // 6
    details = report.details
    assert (details["n_stored"], details["n_compared"], details["n_equal"], details["agreement"]) == (n, n, n, 1.0)
    confusion = np.array(details["confusion"])
    assert confusion.sum() == n and np.trace(confusion) == n
    kept = stored["model_pred"] >= 0
    truth, predicted = stored["motif"][kept], stored["model_pred"][kept]
    for number, name in enumerate(("shower", "track", "michel", "delta")):
        hits = ((truth == number) & (predicted == number)).sum()
        f1 = 2 * hits / ((truth == number).sum() + (predicted == number).sum())
        assert details["f1_new"][name] == pytest.approx(f1) == details["f1_stored"][name]


def test_changed_predictions_are_counted_and_fail(checkpoint, stored, tmp_path):
    changed = stored["model_pred"].copy()
    rows = np.flatnonzero(changed >= 0)[:30]
    changed[rows] = (changed[rows] + 1) % 4
    event = read_stored_event(written(tmp_path / "e.npz", stored, model_pred=changed))
    report = verify_predictions(checkpoint, event, 0.9)
    assert not report.passed
    assert report.details["n_equal"] == report.details["n_stored"] - 30
    assert [c.passed for c in report.checks] == [True, False]
    assert verify_predictions(checkpoint, event, 0.8).passed


def test_points_that_the_cuts_remove_are_told(checkpoint, stored, tmp_path):
    energy = stored["energy_MeV"].copy()
    energy[np.flatnonzero(stored["model_pred"] >= 0)[:3]] = 0.1
    event = read_stored_event(written(tmp_path / "e.npz", stored, energy_MeV=energy))
    report = verify_predictions(checkpoint, event, 0.0)
    assert report.checks[0].found == str(N - N // 6 - 3) and not report.passed


def test_the_truth_is_not_needed(checkpoint, stored, tmp_path):
    report = verify_predictions(checkpoint, read_stored_event(written(tmp_path / "e.npz", stored, motif=None)))
    assert report.passed and "f1_new" not in report.details


def test_the_commands_exit_code_tells(checkpoint, stored, tmp_path, capsys):
    checkpoint.save(tmp_path / "w.safetensors")
    good = written(tmp_path / "good.npz", stored)
    bad = written(tmp_path / "bad.npz", stored, model_pred=np.where(stored["model_pred"] >= 0, 2, -9))
    command = ["verify", "predictions", "--checkpoint", str(tmp_path / "w.safetensors"), "--device", "cpu", "--event"]
    main([*command, str(good)])
    assert "passed" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main([*command, str(bad), "--min-agreement", "0.999", "--json"])
    assert end.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is False and told["details"]["classes"] == ["shower", "track", "michel", "delta"]


WRONG = {
    "no coordinates": ({"coords": None}, "has no array coords"),
    "no predictions": ({"model_pred": None}, "has 0 arrays of predictions"),
    "two predictions": ({"other_pred": np.zeros(N, np.int64)}, "has 2 arrays of predictions"),
    "coordinates of two columns": ({"coords": np.zeros((N, 2))}, "coordinates have shape (240, 2)"),
    "fewer predictions": ({"model_pred": np.zeros(3, np.int64)}, "model_pred have shape (3,)"),
    "energies that are NaN": ({"energy_MeV": np.full(N, np.nan)}, "energies are not finite"),
    "energies that are texts": ({"energy_MeV": np.array(["x"] * N)}, "energies are not finite"),
    "classes that are fractions": ({"model_pred": np.zeros(N)}, "model_pred is of type float64"),
    "an unknown class": ({"model_pred": np.full(N, 7)}, "stores the class 7"),
    "nothing evaluated": ({"model_pred": np.full(N, -9)}, "stores no prediction"),
    "objects": ({"model_pred": np.array([{}] * N, dtype=object)}, "could not be read"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_files_are_one_sentence(checkpoint, stored, tmp_path, what):
    changes, told = WRONG[what]
    path = written(tmp_path / "e.npz", stored, **changes)
    with pytest.raises(BenchmarkError) as error:
        verify_predictions(checkpoint, read_stored_event(path))
    text = str(error.value)
    assert told in text and "expected" in text and "\n" not in text


def test_damaged_and_missing_files(stored, tmp_path):
    whole = written(tmp_path / "e.npz", stored).read_bytes()
    for name, content in (("short", whole[:300]), ("text", b"no archive"), ("empty", b"")):
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(DataError, match="could not be read"):
            read_stored_event(tmp_path / f"{name}.npz")
    with pytest.raises(DataError, match="There is no file"):
        read_stored_event(tmp_path / "gone.npz")
    with pytest.raises(DataError, match="has no array mine"):
        read_stored_event(tmp_path / "e.npz", "mine")


def test_what_cannot_be_verified_is_told(checkpoint, stored, tmp_path):
    event = read_stored_event(written(tmp_path / "e.npz", stored))
    with pytest.raises(ConfigError, match=r"--min-agreement 1\.5"):
        verify_predictions(checkpoint, event, 1.5)
    path = released.write(tmp_path / "p.ckpt", released.content(stage="pretrain"))
    with pytest.raises(CheckpointError, match="does not predict classes of points"):
        verify_predictions(open_released(path, "polarmae"), event)


def test_the_stored_event_of_the_released_model_is_read(shared_dir, checkpoint):
    """Its own predictions can only be reproduced with the released weights, which are not here."""
    event = read_stored_event(shared_dir / "reference/lartpc/real_events/pilarnetm_mini_test_event0.npz")
    report = verify_predictions(checkpoint, event, 0.0)
    assert report.passed and report.details["n_compared"] == 1141
    assert report.details["f1_stored"]["shower"] == 1.0
    assert report.details["f1_stored"]["macro"] == pytest.approx(0.869, abs=5e-4)
