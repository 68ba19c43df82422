"""BibTeX: every reference of the suite has its entry, names and records find theirs, the suite's version is one."""

import re

import numpy as np
import pytest
import yaml

from benchmark import __version__, registry, tasks
from benchmark.cli import main
from benchmark.reports.citations import bibliography, entries
from builders.many_records import made_up, write
from builders.paths import ROOT

IDENTIFIER = re.compile(r"arXiv:\d{4}\.\d{5}|ATL-[A-Z]+-[A-Z]+-\d{4}-\d{3}|EPJC \d+ \(\d{4}\) \d+")


def references():
    for name in registry.model_names():
        yield name, registry.model_spec(name).reference
    for name in registry.pretext_names():
        yield name, registry.pretext_spec(name).reference
    for name in registry.dataset_names():
        yield name, registry.dataset_spec(name).info.citation
    for task in tasks.TASKS.values():
        yield task.name, task.reference


@pytest.mark.parametrize(("name", "text"), list(references()))
def test_every_paper_that_the_suite_names_has_an_entry(name, text):
    alias = {"arXiv:1703.10485": "EPJC 77 (2017) 466"}
    for identifier in IDENTIFIER.findall(text):
        assert alias.get(identifier, identifier) in entries(), f"{name} names {identifier}"


def test_every_entry_is_named_somewhere_and_has_what_a_list_of_papers_needs():
    texts = " ".join(text for _, text in references())
    for identifier, entry in entries().items():
        assert identifier in texts
        assert entry.count("{") == entry.count("}")
        number = identifier.removeprefix("arXiv:")
        assert number in entry or identifier.startswith(("EPJC", "Learning"))
    keys = [re.match(r"@\w+\{(\w+),", entry)[1] for entry in entries().values()]
    assert len(set(keys)) == len(keys)


def test_a_network_with_a_pretext_is_cited_with_both():
    text = "\n".join(bibliography("gnn+masked"))
    assert "particlebench" in text and "graph networks" in text and "Masked Autoencoders Are Scalable" in text
    assert "Masked Autoencoders" not in "\n".join(bibliography("gnn"))
    assert "Emerging Properties" in "\n".join(bibliography("panda"))  # its own pretext


def test_a_record_is_cited_with_model_data_and_task(tmp_path, capsys):
    record = made_up("pointnet", 100, 0, 0, np.random.default_rng(0), n_events=20)
    record.dataset["name"] = "pilarnet-m"
    main(["cite", str(write(tmp_path, record))])
    text = capsys.readouterr().out
    assert "PointNet: Deep Learning" in text and "Masked Point Modeling" in text  # the task's and the data's paper
    assert text.count("Masked Point Modeling") == 1
    assert text.count("@") == 3


def test_a_model_of_the_users_own_in_a_record_is_left_out_and_an_unknown_name_is_refused(tmp_path, capsys):
    record = made_up("my_net", 100, 0, 0, np.random.default_rng(0), n_events=20)
    main(["cite", str(write(tmp_path, record))])
    assert "@software{particlebench" in capsys.readouterr().out
    for wrong, said in (("polarmaee", "Did you mean 'polarmae'"), ("none.json", "none.json")):
        with pytest.raises(SystemExit) as end:
            main(["cite", wrong])
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_the_citation_file_says_this_version():
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cff["version"] == __version__ and cff["license"] == "Apache-2.0"
