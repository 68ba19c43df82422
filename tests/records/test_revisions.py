"""Revisions of simulated data: they follow what the events are, not the source text, and keep their names."""

import importlib
import json
import shutil

import numpy as np
import pytest

from benchmark import registry
from benchmark.datasets import lartpc_sim
from benchmark.datasets._identity import Content, content_digest
from benchmark.datasets.larsim import shards
from benchmark.datasets.larsim.plan import CONTENT, Plan
from benchmark.datasets.larsim.production import simulate_plan
from benchmark.errors import ConfigError
from benchmark.paths import cache_dir
from benchmark.records.published import published_file
from benchmark.records.revisions import DEFAULT_REVISIONS, is_made_today, with_todays_revision
from benchmark.records.store import read_record, read_records
from benchmark.records.tuning import read_tunings
from benchmark.verification.joinable import joinable

SIMULATIONS = {"calo-sim": "calosim", "lartpc-sim": "larsim", "lif-sim": "lifsim"}
COMMITTED = {"calo-sim": "calo-40732cfdb85a", "lartpc-sim": "sim-ba595627f976", "lif-sim": "lif-c04cde8e23fe"}
EARLIER = "d7819b71e2546837aff576544cdc05b47b1b0bbf6ad631e4a1e3d29361b70e21"  # an alias in larsim's CONTENT


def default_plan(dataset):
    module = importlib.import_module(f"benchmark.datasets.{dataset.replace('-', '_')}")
    return module._plan(module.Config())


@pytest.mark.parametrize("name", SIMULATIONS.values())
def test_the_events_are_those_that_the_revisions_name(name):
    made = importlib.import_module(f"benchmark.datasets.{name}.digest").digest()
    stated = importlib.import_module(f"benchmark.datasets.{name}.plan").CONTENT.digest
    assert made == stated, (
        f"{name} makes other events than its revisions name. If no change of physics was meant, undo it. If one was, "
        f"state digest={made!r} and named_by=({made!r},) in datasets/{name}/plan.py and "
        f"the new revision of the default settings, alone, in benchmark/records/revisions.py: records of the earlier "
        f"events keep tables of their own."
    )


@pytest.mark.parametrize("dataset", SIMULATIONS)
def test_default_settings_have_the_revisions_of_the_committed_records(dataset):
    plan = default_plan(dataset)
    assert plan.revision() == COMMITTED[dataset]
    assert (plan.revision(), *plan.aliases()) == DEFAULT_REVISIONS[dataset]


def test_names_by_earlier_sources_are_aliases():
    assert default_plan("calo-sim").aliases() == ("calo-1f5e6b862737",)
    assert "sim-5b5c523d0b88" in default_plan("lartpc-sim").aliases()


# ---- digests


def test_a_digest_is_of_whole_numbers_exactly_and_of_others_roughly():
    rng = np.random.default_rng(0)
    energies, labels = rng.lognormal(size=1000).astype(np.float32), np.arange(1000)
    energies[:10] = 0

    def of(x, y):
        return content_digest([("energy", x), ("label", y)])

    usual = of(energies, labels)
    assert of(energies.astype(np.float64) * (1 + 1e-13), labels) == usual
    assert of(energies + np.float32(1e-9) * (energies == 0), labels) == usual
    changed = energies.copy()
    changed[500] *= 1.0003
    assert len({usual, of(changed, labels), of(-energies, labels), of(energies, labels + 1)}) == 4
    assert of(energies[:, None], labels) != usual  # shapes count


def test_one_large_number_hides_no_others():
    first, second = np.array([1.0, 2.0, 3.0, -1e9]), np.array([1.0, 2.0, 4.0, -1e9])
    assert content_digest([("a", first)]) != content_digest([("a", second)])


# ---- folders


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished folder of three events."""
    out = tmp_path_factory.mktemp("sim") / "data"
    simulate_plan(PLAN, out, workers=1)
    return out


PLAN = Plan({"train": 1, "val": 1, "test": 1}, seed=5)
SETTINGS = {"train": 1, "val": 1, "test": 1, "seed": 5}


def as_an_earlier_version_wrote(made, folder):
    """The same folder under the name that a hash of earlier sources gave."""
    shutil.copytree(made, folder)
    manifest = json.loads((folder / "simulation.json").read_text())
    description = {**PLAN.describe(), "code_sha256": EARLIER}
    manifest |= {"code_sha256": EARLIER, "revision": CONTENT.revision(description)}
    (folder / "simulation.json").write_text(json.dumps(manifest))
    assert manifest["revision"] in PLAN.aliases()
    return folder


@pytest.fixture
def no_simulation(monkeypatch):
    def refused(*args):
        raise AssertionError("nothing was to be simulated")

    monkeypatch.setattr(shards, "simulate_image", refused)


def test_a_folder_under_an_earlier_name_is_read_and_prepared_as_todays(made, tmp_path, no_simulation):
    folder = as_an_earlier_version_wrote(made, tmp_path / "old")
    spec = registry.dataset_spec("lartpc-sim")
    config = spec.config(**SETTINGS)
    assert spec.open(config, folder).revision == PLAN.revision()
    assert spec.prepare(config, folder).revision == PLAN.revision()
    with pytest.raises(ConfigError, match="already holds a finished simulation"):
        spec.prepare(spec.config(**{**SETTINGS, "seed": 6}), folder)


def test_a_cache_under_an_earlier_name_is_found(made, tmp_path, monkeypatch, no_simulation):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path))
    folder = as_an_earlier_version_wrote(made, cache_dir() / "datasets" / "lartpc-sim" / PLAN.aliases()[0])
    spec = registry.dataset_spec("lartpc-sim")
    dataset = spec.open(spec.config(**SETTINGS), None)
    assert dataset.revision == PLAN.revision() and len(dataset.events("test")) == 1
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_what_an_earlier_version_began_is_continued(made, tmp_path):
    out = tmp_path / "begun"
    (out / ".work").mkdir(parents=True)
    begun = {**PLAN.describe(), "code_sha256": EARLIER}
    (out / ".work" / "plan.json").write_text(json.dumps(begun))
    first = shards.shards_of(PLAN)[0]
    shards.make_shard(PLAN, first, out / ".work")
    manifest = simulate_plan(PLAN, out, workers=1)
    assert manifest["revision"] == PLAN.revision() and manifest["code_sha256"] == CONTENT.named_by[0]
    (out / "simulation.json").unlink()
    (out / ".work").mkdir()
    (out / ".work" / "plan.json").write_text(json.dumps({**begun, "code_sha256": "0" * 64}))
    with pytest.raises(ConfigError, match="other settings"):
        simulate_plan(PLAN, out, workers=1)


def test_a_manifest_of_other_events_keeps_its_own_revision():
    content = Content("x", "", ("first", "second"))
    settings = {"seed": 1}
    second = {**settings, "code_sha256": "second"}
    named = {**second, "revision": content.revision(second), "files": {}, "notice": "", "versions": {}}
    assert content.revision_of_manifest(named) == content.revision(content.describe(settings))
    other = {**settings, "code_sha256": "third"}
    assert content.revision_of_manifest({**other, "revision": content.revision(other)}) == content.revision(other)
    assert content.revision_of_manifest({"revision": "made-up", "files": {}}) == "made-up"


# ---- records


def test_records_under_an_earlier_name_are_read_as_todays(tmp_path):
    source = sorted((published_file().parent / "records").rglob("calo-sim/*.json"))[0]
    values = json.loads(source.read_text())
    values["dataset"]["revision"] = "calo-1f5e6b862737"
    (tmp_path / source.name).write_text(json.dumps(values))
    assert read_record(tmp_path / source.name) == read_record(source)
    searches, _ = read_tunings(published_file().parent / "tuning")
    assert searches and all(with_todays_revision(s.dataset) == s.dataset for s in searches)


def test_names_of_tiles_and_of_other_datasets_stay(monkeypatch):
    monkeypatch.setitem(DEFAULT_REVISIONS, "lif-sim", ("lif-new", "lif-old"))
    assert with_todays_revision({"name": "lif-sim", "revision": "lif-old-762911e9"})["revision"] == "lif-new-762911e9"
    for name, revision in (("lif-sim", "lif-other-1"), ("pilarnet-m", "v2-1"), ("lartpc-sim", "made-up")):
        dataset = {"name": name, "revision": revision, "files": {}}
        assert with_todays_revision(dataset) == dataset
        assert is_made_today(dataset) == (name == "pilarnet-m")


def test_verify_says_which_tables_new_runs_cannot_join(tmp_path):
    committed = joinable(published_file().parent / "records")
    assert [check.status for check in committed] == ["passed"] * 3
    source = sorted((published_file().parent / "records").rglob("calo-sim/*.json"))[0]
    values = json.loads(source.read_text())
    values["dataset"]["revision"] = "calo-000000000000"
    (tmp_path / source.name).write_text(json.dumps(values))
    (check,) = joinable(tmp_path)
    assert check.status == "FAILED" and check.found == "1 of 1 records on calo-000000000000"
    assert "calo-sim" in check.name and check.expected == "calo-40732cfdb85a"
    assert joinable(tmp_path / "nowhere") == []


def test_committed_records_can_be_joined():
    records, problems = read_records(published_file().parent / "records")
    assert not problems and all(is_made_today(r.dataset) for r in records)
    assert {r.dataset["revision"] for r in records if r.dataset["name"] == "calo-sim"} == {"calo-40732cfdb85a"}
    assert lartpc_sim.INFO.name in {r.dataset["name"] for r in records}
