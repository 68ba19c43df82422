"""A submission: checked records and a card on a branch of their own; the user's files stay, refusals leave nothing."""

import json
import subprocess

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.errors import BenchmarkError, ConfigError, RecordError, UnknownNameError
from benchmark.records.card import Card, card_text, made_card, read_card
from benchmark.records.store import read_records
from builders.many_records import made_up, write

CARD = ["--author", "A. Author", "--author", 'B. "Quote" Müller', "--licence", "MIT", "--pretraining-data", "none",
        "--external-data", "none", "--contact", "a@example.org"]  # fmt: skip
VALUES = {
    "model": "my_net", "authors": ["A. Author"], "licence": "MIT", "pretraining_data": "none", "external_data": "none",
    "contact": "a@example.org",
}  # fmt: skip


def git(root, *arguments):
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a folder of records, and a change of the user's that is not committed."""
    for name, value in {"GIT_AUTHOR_NAME": "T", "GIT_AUTHOR_EMAIL": "t@e", "GIT_COMMITTER_NAME": "T",
                        "GIT_COMMITTER_EMAIL": "t@e"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    root = tmp_path / "checkout"
    (root / "leaderboards/records").mkdir(parents=True)
    git(tmp_path, "init", "--quiet", str(root))
    write(root / "leaderboards/records", made_up("gnn", 100, 0, 0, np.random.default_rng(0), n_events=30))
    (root / "mine.txt").write_text("before")
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", "start")
    (root / "mine.txt").write_text("after")
    return root


def records(folder, model="my_net", draws=(0, 1)):
    return [write(folder / "runs", made_up(model, 100, d, 0, np.random.default_rng(1), n_events=30)) for d in draws]


def submit(files, checkout, *options):
    main(["submit", *map(str, files), "--repository", str(checkout), *options])


def branches(root):
    return git(root, "branch", "--format", "%(refname:short)").split()


def test_records_and_card_are_on_a_branch_and_the_users_files_stay(tmp_path, checkout, capsys):
    start = branches(checkout)
    submit(records(tmp_path), checkout, *CARD)
    (branch,) = set(branches(checkout)) - set(start)
    text = capsys.readouterr().out
    assert f"git push origin {branch}" in text and "leaderboards/models/my_net.toml" in text
    assert git(checkout, "branch", "--show-current") == start[0]
    assert git(checkout, "status", "--porcelain") == "M mine.txt"
    assert len(git(checkout, "worktree", "list").splitlines()) == 1
    git(checkout, "stash", "--quiet")
    git(checkout, "switch", "--quiet", branch)
    found, problems = read_records(checkout / "leaderboards/records")
    assert sorted(r.model for r in found) == ["gnn", "my_net", "my_net"] and not problems
    card = read_card(checkout / "leaderboards/models/my_net.toml")
    assert card.authors == ("A. Author", 'B. "Quote" Müller') and card.licence == "MIT"


def test_a_model_of_the_suite_needs_no_card_and_one_that_has_a_card_no_other(tmp_path, checkout):
    submit(records(tmp_path, "gnn", draws=(1,)), checkout)
    (first,) = set(branches(checkout)) - {git(checkout, "branch", "--show-current")}
    submit(records(tmp_path, draws=(0,)), checkout, *CARD)
    (second,) = set(branches(checkout)) - {git(checkout, "branch", "--show-current"), first}
    git(checkout, "stash", "--quiet")
    git(checkout, "switch", "--quiet", second)
    submit(records(tmp_path, draws=(1,)), checkout)
    assert len(branches(checkout)) == 4


def changed(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return path


def better(values):
    values["metrics"]["overall"]["macro_f1"]["value"] = 0.99


def unfinished(values):
    values.update(status="failed", metrics={}, per_event={}, error="x")


REFUSED = {
    "no card": ([], lambda path: path, "lacks authors, licence, pretraining_data, external_data, contact"),
    "a better score": (CARD, lambda path: changed(path, better), "says macro_f1 = 0.99, and its counts give"),
    "a failed run": (CARD, lambda path: changed(path, unfinished), "is of a run that failed"),
    "no record": (CARD, lambda path: changed(path, lambda v: v.pop("task")), "task"),
    "control letters": ([*CARD[:-1], "a\x1b[2J"], lambda path: path, "contact is no plain text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_no_branch(tmp_path, checkout, case, capsys):
    options, change, said = REFUSED[case]
    (path,) = records(tmp_path, draws=(0,))
    with pytest.raises(SystemExit) as end:
        submit([change(path)], checkout, *options)
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and "Traceback" not in error
    assert len(branches(checkout)) == 1 and len(git(checkout, "worktree", "list").splitlines()) == 1
    assert git(checkout, "status", "--porcelain") == "M mine.txt"


def test_records_of_two_models_known_records_and_folders_without_git_are_refused(tmp_path, checkout, capsys):
    two = [*records(tmp_path, draws=(0,)), *records(tmp_path, "gnn", draws=(1,))]
    (known,) = records(tmp_path, "gnn", draws=(0,))
    known.write_bytes(next((checkout / "leaderboards/records").rglob("*.json")).read_bytes())
    own = records(tmp_path, draws=(3,))
    submit(own, checkout, *CARD)
    for files, where, said in (
        (two, checkout, "The records are of 2 models (gnn, my_net)"),
        ([known], checkout, "are in"),
        (own, checkout, "is there already, with these records"),
        (own, tmp_path, "git rev-parse failed in"),
    ):
        with pytest.raises(SystemExit):
            submit(files, where, *CARD)
        assert said in capsys.readouterr().err


def test_a_card_reads_back_and_explains_its_fields(tmp_path):
    card = made_card({**VALUES, "code": 'https://e.org/"x"\\y', "authors": ["Ä", "B"]}, "x")
    path = tmp_path / "my_net.toml"
    path.write_text(card_text(card))
    assert read_card(path) == card
    assert all("  # " in line for line in path.read_text().splitlines())
    assert len(path.read_text().splitlines()) == len(Card.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("authors = [", RecordError, "is no card of a model"),
        ('licens = "MIT"', UnknownNameError, "Did you mean 'licence'"),
        ('model = "my_net"', ConfigError, "lacks authors"),
        ("x" * 70_000, RecordError, "more than 64 kB"),
        ("a = " + "[" * 5000, RecordError, "is no card"),
    ],
)
def test_a_wrong_card_is_one_sentence(tmp_path, text, error, said):
    path = tmp_path / "my_net.toml"
    path.write_text(text)
    with pytest.raises(error, match=said):
        read_card(path)


@pytest.mark.parametrize(
    "change", [{"authors": "A"}, {"authors": [3]}, {"paper": 3}, {"model": "../x"}, {"model": "a b"}]
)
def test_values_of_other_types_are_named(change):
    with pytest.raises(BenchmarkError, match=next(iter(change))):
        made_card({**VALUES, **change}, "the card")
