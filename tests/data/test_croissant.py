"""Croissant metadata: the terms of the format, every file with its checksum, every label with its meaning."""

import json

import pytest

from benchmark.cli import main
from benchmark.data.croissant import FORMATS, croissant
from builders.tiny_datasets import make


@pytest.mark.parametrize("name", ["lartpc-sim", "calo-sim", "lif-scans", "pilarnet-m"])
def test_a_dataset_is_described(tmp_path, name):
    dataset = make(name, tmp_path).dataset
    found = croissant(dataset)
    json.dumps(found, allow_nan=False)
    assert found["@type"] == "sc:Dataset" and found["conformsTo"] == list(FORMATS)
    assert found["version"] == dataset.revision and found["citeAs"] and found["license"]
    assert {f["name"]: f.get("sha256") for f in found["distribution"]}.keys() == dataset.files.keys()
    (rows,) = found["recordSet"]
    fields = {f["name"].removeprefix("points/"): f for f in rows["field"]}
    assert dataset.info.labels.keys() <= fields.keys()
    assert ("volume" in fields) == (name == "lif-scans") and ("energy" in fields) == (name != "lif-scans")
    assert fields["event_id"]["dataType"] == "sc:Text"
    assert found["rai:hasSyntheticData"] == name.endswith("-sim")
    files = {f["@id"] for f in found["distribution"]}
    assert all(f["source"]["fileObject"]["@id"] in files for f in rows["field"])
    assert len({f["@id"] for f in rows["field"]}) == len(rows["field"])


def test_checksums_are_told_as_what_they_are(tmp_path):
    dataset = make("pilarnet-m", tmp_path).dataset
    told = croissant(dataset)["distribution"]
    assert all(f["sha256"] == dataset.files[f["name"]] for f in told)


def test_the_command_prints_it(tmp_path, capsys):
    made = make("pilarnet-m", tmp_path)
    main(["data", "info", "pilarnet-m", "--data", str(made.folder), "--croissant"])
    assert json.loads(capsys.readouterr().out)["name"] == "pilarnet-m"
