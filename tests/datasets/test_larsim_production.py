"""Generator, files, and production of simulated data sets: reproducible, resumable, never half-written."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from benchmark.datasets._folders import MANIFEST
from benchmark.datasets.larsim import production, shards
from benchmark.datasets.larsim.generator import GeneratorSettings, ParticleList, RainSettings, VertexSettings, generate
from benchmark.datasets.larsim.plan import Plan, SimulationSettings
from benchmark.datasets.larsim.production import simulate, simulate_dataset, simulate_plan, split_sizes
from benchmark.datasets.larsim.truth import HALF_BOX_MM
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.registry import dataset_spec
from builders.paths import ROOT


def primaries(settings=None, n=300):
    settings = settings or GeneratorSettings()
    rng = np.random.default_rng(1)
    return [generate(settings, rng) for _ in range(n)]


# ---- generator


def test_vertices_hold_two_to_six_particles_and_one_lepton():
    for event in primaries():
        vertex = event[event["vertex"] == 0]
        assert 2 <= len(vertex) <= 6
        assert np.isin(np.abs(vertex["pdg"]), (11, 13)).sum() == 1
        assert (vertex["pdg"] == 111).sum() <= 1 and (vertex["pdg"] == 2212).sum() <= 4
        assert all(len(np.unique(vertex[axis])) == 1 for axis in "xyz")
        assert max(abs(vertex[axis][0]) for axis in "xyz") <= HALF_BOX_MM - VertexSettings().inset_mm


def test_rain_flies_inward_and_every_drop_is_an_interaction():
    rain = np.concatenate([event[event["vertex"] > 0] for event in primaries()])
    for axis in "xyz":
        assert (rain[axis] * rain[f"p{axis}"] <= 0).all()
        assert np.abs(rain[axis]).max() > HALF_BOX_MM  # some start outside the image
    assert all(len(np.unique(e["vertex"])) == 1 + (e["vertex"] > 0).sum() for e in primaries(n=50))


def test_momenta_and_kinetic_energies_fill_their_ranges():
    kinetic = ParticleList((2212,), 0, 1, 1.0, (100.0, 400.0), "kinetic")
    momentum = ParticleList((2212,), 0, 1, 1.0, (100.0, 400.0))
    for entry in (kinetic, momentum):
        settings = GeneratorSettings(vertex=VertexSettings(multiplicity=(1, 1), lists=(entry,)), rain=())
        events = np.concatenate(primaries(settings, 500))
        p = np.sqrt(events["px"] ** 2 + events["py"] ** 2 + events["pz"] ** 2)
        value = np.sqrt(p**2 + 938.272**2) - 938.272 if entry is kinetic else p
        assert 100 <= value.min() < 110 and 390 < value.max() <= 400


def test_directions_of_the_vertex_are_isotropic():
    events = np.concatenate([e[e["vertex"] == 0] for e in primaries(n=1500)])
    p = np.stack([events[f"p{a}"] for a in "xyz"], axis=1)
    cosines = p / np.linalg.norm(p, axis=1, keepdims=True)
    error = np.sqrt(1 / 3 / len(p))
    np.testing.assert_allclose(cosines.mean(axis=0), 0, atol=4 * error)
    np.testing.assert_allclose((cosines**2).mean(axis=0), 1 / 3, atol=4 * error)


BAD_SETTINGS = {
    "zero particles": GeneratorSettings(vertex=VertexSettings(multiplicity=(0, 0), lists=()), rain=()),
    "multiplicity": GeneratorSettings(vertex=VertexSettings(multiplicity=(3, 2))),
    "momentum range": GeneratorSettings(
        vertex=VertexSettings((1, 1), lists=(ParticleList((13,), 0, 1, 1.0, (-5.0, 10.0)),))
    ),
    "particle list": GeneratorSettings(vertex=VertexSettings((1, 1), lists=(ParticleList((99,), 0, 1, 1.0, (0, 1)),))),
    "vertex inset": GeneratorSettings(vertex=VertexSettings(inset_mm=-1.0)),
    "rain margin": GeneratorSettings(rain=(RainSettings(margin_mm=float("nan")),)),
    "time window": GeneratorSettings(time_window_ns=(5.0, 1.0)),
}


@pytest.mark.parametrize("message", BAD_SETTINGS)
def test_impossible_settings_are_one_sentence_and_leave_nothing(tmp_path, message):
    settings = SimulationSettings(generator=BAD_SETTINGS[message])
    with pytest.raises(ConfigError, match=message):
        simulate(tmp_path / "out", events=1, settings=settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"events": 0}, "0 events"),
        ({"events": -3}, "-3 events"),
        ({"events": 10, "test": 10}, "leave -?[0-9]+ of 10"),
        ({"events": 10, "val": -1}, "-1 validation"),
        ({"events": 10**7}, "GB free"),
        ({"events": 10**9}, "whole number from 1 to"),
        ({"events": 10, "workers": 0}, "0 workers"),
        ({"events": 10, "version": "v9"}, "'v9'"),
        ({"events": 10, "executor": "cloud"}, "'cloud'"),
    ],
)
def test_impossible_requests_are_one_sentence(tmp_path, arguments, message):
    with pytest.raises(BenchmarkError, match=message) as caught:
        simulate_dataset(tmp_path / "out", **arguments)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.h5"))


# ---- files


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Six events, made in this process."""
    out = tmp_path_factory.mktemp("sim") / "data"
    manifest = simulate_plan(Plan({"train": 4, "val": 1, "test": 1}, seed=7), out, workers=1)
    return out, manifest


def rows_of(path):
    with h5py.File(path) as h5:
        return {name: [row.tolist() for row in h5[name]] for name in sorted(h5)}


def test_files_have_the_layout_of_pilarnet_m(simulated):
    out, manifest = simulated
    path = out / "train" / "generic_v2_4_v2.h5"
    with h5py.File(path) as h5:
        assert sorted(h5) == ["cluster", "cluster_extra", "point"]
        kinds = {name: h5py.check_vlen_dtype(h5[name].dtype) for name in h5}
        assert kinds == {"cluster": np.dtype("i8"), "cluster_extra": np.dtype("f4"), "point": np.dtype("f4")}
        counts = np.load(path.with_name("generic_v2_4_v2_points.npy"))
        for k in range(4):
            point, cluster = h5["point"][k].reshape(-1, 8), h5["cluster"][k].reshape(-1, 6)
            extra = h5["cluster_extra"][k].reshape(-1, 5)
            assert len(point) == cluster[:, 0].sum() == counts[k] and len(extra) == len(cluster)
            assert cluster[0, 1:].tolist() == [-1, -1, -1, 4, -1] and extra[0].tolist() == [-1.0] * 5
            assert (np.diff(cluster[1:, 1]) > 0).all() and (cluster[1:, 0] > 0).all()
            assert len(np.unique(point[:, :3], axis=0)) == len(point)
            assert (
                (point[:, :3] == np.floor(point[:, :3])).all() and point[:, :3].min() >= 0 and point[:, :3].max() < 768
            )
            assert (point[:, 3] >= 0.0099).all() and (point[:, 3] == point[:, 4]).all()
        assert json.loads(h5.attrs["simulation"])["seed"] == 7
    assert manifest["revision"].startswith("sim-") and set(manifest["files"]) == {
        f"{s}/generic_v2_{n}_v2{end}"
        for s, n in (("train", 4), ("val", 1), ("test", 1))
        for end in (".h5", "_points.npy")
    }
    assert not (out / ".work").exists()


def test_v1_is_v2_without_the_particle_type(simulated, tmp_path):
    simulate_plan(Plan({"train": 4}, seed=7, version="v1"), tmp_path / "v1", workers=1)
    v1 = rows_of(tmp_path / "v1" / "train" / "generic_v2_4_v1.h5")
    v2 = rows_of(simulated[0] / "train" / "generic_v2_4_v2.h5")
    assert sorted(v1) == ["cluster", "point"] and v1["point"] == v2["point"]
    for a, b in zip(v1["cluster"], v2["cluster"], strict=True):
        assert np.reshape(a, (-1, 5)).tolist() == np.reshape(b, (-1, 6))[:, :5].tolist()


def test_event_k_is_the_same_for_any_number_of_workers_and_events(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_EVENTS", 2)
    simulate_plan(Plan({"train": 6}, seed=7), tmp_path / "two", workers=2)
    six = rows_of(tmp_path / "two" / "train" / "generic_v2_6_v2.h5")
    four = rows_of(simulated[0] / "train" / "generic_v2_4_v2.h5")
    assert {name: rows[:4] for name, rows in six.items()} == four


def test_splits_and_seeds_are_independent(simulated):
    settings = SimulationSettings()
    images = [
        shards.simulate_image(settings, seed, split, 0) for seed, split in ((7, "train"), (7, "val"), (8, "train"))
    ]
    assert len({image.point.tobytes() for image in images}) == 3


def test_the_revision_names_settings_seed_and_size():
    plan = Plan({"train": 4}, seed=7)
    others = [
        dataclasses.replace(plan, seed=8),
        dataclasses.replace(plan, events={"train": 5}),
        dataclasses.replace(plan, settings=SimulationSettings(generator=GeneratorSettings(rain=()))),
    ]
    assert plan.revision() == Plan({"train": 4}, seed=7).revision()
    assert len({p.revision() for p in (plan, *others)}) == 4


def test_default_fractions():
    assert split_sizes(1000) == {"train": 850, "val": 50, "test": 100}
    assert split_sizes(1) == {"train": 1}


# ---- folders, interruption


def test_an_existing_folder_is_refused_and_untouched(simulated, tmp_path):
    with pytest.raises(ConfigError, match="already holds a finished simulation"):
        simulate_plan(Plan({"train": 1}), simulated[0], workers=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        simulate_plan(Plan({"train": 1}), tmp_path, workers=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]
    with pytest.raises(ConfigError, match="is a file"):
        simulate_plan(Plan({"train": 1}), tmp_path / "notes.txt", workers=1)


def test_the_same_command_finds_a_finished_simulation_and_deletes_what_a_killed_one_left(simulated, monkeypatch):
    monkeypatch.setattr(shards, "simulate_image", None)  # nothing is simulated again
    out, manifest = simulated
    (out / ".work").mkdir()
    (out / ".work" / "train-00000000.npz").write_bytes(b"")
    assert simulate_plan(Plan({"train": 4, "val": 1, "test": 1}, seed=7), out, workers=1) == manifest
    assert not (out / ".work").exists()


def test_an_interrupted_simulation_continues_and_gives_the_same_events(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_EVENTS", 1)
    made = []

    def stop_at_third(plan, shard, work):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(shard)
        return shards.make_shard(plan, shard, work)

    out, plan = tmp_path / "out", Plan({"train": 4, "val": 1, "test": 1}, seed=7)
    with pytest.raises(KeyboardInterrupt):
        dataclasses.replace(production.SIMULATION, make=stop_at_third).simulate(plan, out, workers=1)
    assert not list(out.rglob("*.h5")) and not (out / MANIFEST).exists()
    with pytest.raises(ConfigError, match="other settings \\(seed: 7 there, 8 requested\\)"):
        simulate_plan(dataclasses.replace(plan, seed=8), out, workers=1)

    again = []
    counted = dataclasses.replace(production.SIMULATION, make=lambda *a: (again.append(a[1]), shards.make_shard(*a))[1])
    counted.simulate(plan, out, workers=1)
    assert len(again) == 4 and not set(again) & set(made)
    for split in ("train/generic_v2_4_v2.h5", "test/generic_v2_1_v2.h5"):
        assert rows_of(out / split) == rows_of(simulated[0] / split)


@pytest.mark.slow
def test_a_killed_simulation_leaves_no_final_file_and_continues(tmp_path):
    code = (
        "from pathlib import Path; from benchmark.datasets.larsim.production import simulate\n"
        f"simulate(Path({str(tmp_path / 'out')!r}), events=300, seed=3, workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL, env={**os.environ})
    until = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".work/*.npz")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_before = len(list((tmp_path / "out").glob(".work/*.npz")))
    assert n_before > 0 and not list((tmp_path / "out").rglob("*.h5"))
    simulate(tmp_path / "out", events=300, seed=3, workers=1)
    assert [p.name for p in (tmp_path / "out").rglob("*.h5")] == ["generic_v2_300_v2.h5"]
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_a_damaged_shard_is_made_again(simulated, tmp_path, monkeypatch):
    plan, work = Plan({"train": 1}, seed=7), tmp_path / "out" / ".work"
    shards.make_shard(plan, shards.shards_of(plan)[0], work)
    path = shards.shards_of(plan)[0].path(work)
    path.write_bytes(path.read_bytes()[:1000])
    assert not shards.is_finished(shards.shards_of(plan)[0], work)
    (work / "plan.json").write_text(json.dumps(plan.describe()))
    simulate_plan(plan, tmp_path / "out", workers=1)
    assert len(rows_of(tmp_path / "out" / "train" / "generic_v2_1_v2.h5")["point"]) == 1


@pytest.mark.parametrize("damage", ["a changed bit", "a table less", "fewer points", "a pipe"])
def test_a_shard_that_is_not_whole_counts_as_missing(tmp_path, damage):
    shard = shards.Shard("train", 0, 2)
    path = shard.path(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"counts": np.array([[3, 1], [2, 1]]), "point": np.ones((5, 8), "f4"), "cluster": np.ones((2, 6), "i8"),
               "cluster_extra": np.ones((2, 5), "f4")}  # fmt: skip
    np.savez(path, **columns)
    assert shards.is_finished(shard, tmp_path)
    if damage == "a changed bit":
        content = bytearray(path.read_bytes())
        at = content.index(np.ones(8, "f4").tobytes())
        content[at] ^= 1
        path.write_bytes(content)
    elif damage == "a pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        name = "cluster" if damage == "a table less" else "point"
        kept = columns.pop(name)
        np.savez(path, **columns, **({} if damage == "a table less" else {name: kept[:4]}))
    assert not shards.is_finished(shard, tmp_path)


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("counts", np.array([[3.0, 1.0], [2.0, 1.0]])), ("counts", np.array([[6, 1], [-1, 1]])),
        ("point", np.ones((5, 8), "f8")), ("cluster", np.ones((2, 6), "i4")), ("cluster_extra", np.ones((2, 4), "f4")),
    ],
)  # fmt: skip
def test_a_shard_of_other_types_or_widths_counts_as_missing(tmp_path, name, wrong):
    shard = shards.Shard("train", 0, 2)
    shard.path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
    columns = {"counts": np.array([[3, 1], [2, 1]]), "point": np.ones((5, 8), "f4"), "cluster": np.ones((2, 6), "i8"),
               "cluster_extra": np.ones((2, 5), "f4")}  # fmt: skip
    np.savez(shard.path(tmp_path), **{**columns, name: wrong})
    assert not shards.is_finished(shard, tmp_path)


def test_a_full_disk_is_one_sentence_and_leaves_no_final_file(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(BenchmarkError, match="No space left on device"):
        simulate_plan(Plan({"train": 1}), tmp_path / "out", workers=1)
    assert not list(tmp_path.rglob("*.h5")) and not list(tmp_path.rglob("*.npz"))


def test_submitit_makes_the_same_events(simulated, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    plan = Plan({"train": 4, "val": 1, "test": 1}, seed=7)
    simulate_plan(plan, tmp_path / "out", workers=1, executor="submitit", cluster={"cluster": "debug"})
    name = "train/generic_v2_4_v2.h5"
    assert rows_of(tmp_path / "out" / name) == rows_of(simulated[0] / name)


# ---- the public data set


def test_lartpc_sim_is_made_once_and_opened_again(caplog):
    spec = dataset_spec("lartpc-sim")
    config = spec.config(train=3, val=1, test=2, seed=11)
    with caplog.at_level("WARNING", logger="particlebench"):
        first = spec.open(config, None)
    assert "no substitute for PILArNet-M" in caplog.text and first.revision.startswith("sim-")
    caplog.clear()
    second = spec.open(config, None)
    assert caplog.text == "" and second.revision == first.revision
    assert [len(second.events(s)) for s in ("train", "val", "test")] == [3, 1, 2]
    event = second.events("test")[0]
    assert event.energy.min() > 0 and set(np.unique(event.labels["semantic"])) <= set(range(5))


def test_lartpc_sim_opens_a_simulated_folder_and_refuses_others(simulated, tmp_path):
    spec = dataset_spec("lartpc-sim")
    assert spec.open(spec.config(), simulated[0]).revision == simulated[1]["revision"]
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BenchmarkError):
            spec.open(spec.config(), folder)
    with pytest.raises(ValueError, match="train=0"):
        spec.config(train=0)
