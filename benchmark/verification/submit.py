"""Records and a model's card, checked and put on a branch of a checkout that is ready to be pushed.

The branch is made in a working tree of its own, so that the user's files stay as they are; where a check fails, branch
and working tree are removed again. Nothing is sent anywhere.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark import registry
from benchmark.errors import ConfigError, RecordError
from benchmark.io import atomic_write_text, sha256_text
from benchmark.records.card import Card, card_path, card_text, made_card, read_card
from benchmark.records.record import RunRecord
from benchmark.records.store import read_record, record_path
from benchmark.reports.check import check_records

RECORDS = Path("leaderboards") / "records"


@dataclass(frozen=True)
class Submission:
    """What `submit` put on a branch."""

    branch: str
    files: tuple[Path, ...]  # relative to the checkout
    notes: tuple[str, ...]  # for the reviewer


def submit(paths: Sequence[Path], fields: Mapping[str, object], repository: Path) -> Submission:
    """Put records on a new branch of a checkout, with the card of their model where it is none of the suite's.

    fields: of the card, where the checkout has none of this model yet. Raises RecordError for records that are damaged,
    unfinished, or do not follow from their counts; ConfigError for a card that is missing or incomplete, and for a
    folder that is no checkout of git.
    """
    records = [read_record(path) for path in paths]
    models = sorted({record.model for record in records})
    if len(models) != 1:
        raise ConfigError(
            f"The records are of {len(models)} models ({', '.join(models)}). Those of one were expected, as a branch "
            f"has one card. Submit each model on its own."
        )
    root = _root(repository)
    card = _card(root, models[0], fields)
    digest = sha256_text("\x1f".join(sorted(record.fingerprint for record in records)))
    branch = f"submit/{models[0].replace('+', '-')}-{digest[:8]}"
    with _working_tree(root, branch) as tree:
        written = [_copy(tree, path, record) for path, record in zip(paths, records, strict=True)]
        if card is not None:
            path = card_path(tree / "leaderboards", card.model)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(path, card_text(card))
            written.append(path)
        notes = _checked(tree, written)
        _git(tree, "add", "--", *map(str, written))
        if not _git(tree, "status", "--porcelain"):
            raise ConfigError(
                f"All {len(records)} records are in {root} already. New ones were expected. There is nothing to submit."
            )
        _git(tree, "commit", "--quiet", "-m", f"Records of {models[0]}: {len(records)}")
        return Submission(branch, tuple(p.relative_to(tree) for p in written), tuple(notes))


def _card(root: Path, model: str, fields: Mapping[str, object]) -> Card | None:
    """The card to write; None where the checkout has it, or the suite the model."""
    if model in registry.model_names():
        return None
    path = card_path(root / "leaderboards", model)
    if path.is_file():
        read_card(path)
        return None
    options = "--author, --licence, --pretraining-data, --external-data and --contact"
    return made_card({"model": model, **fields}, f"The card of {model}", f"Type them as options: {options}.")


def _copy(tree: Path, source: Path, record: RunRecord) -> Path:
    path = record_path(tree / RECORDS, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return path


def _checked(tree: Path, written: Sequence[Path]) -> list[str]:
    """Notes on the new records. Raises RecordError for the first error."""
    _, findings = check_records(tree / RECORDS)
    own = [f for f in findings if f.path in written]
    for finding in own:
        if finding.error:
            raise RecordError(
                f"{finding.path.name} {finding.text}. A record that passes `leaderboard --check` was expected. Run it "
                f"again, and submit the new one."
            )
    return [f"{f.path.name} {f.text}" for f in own]


def _root(repository: Path) -> Path:
    """The root of the checkout that a folder lies in."""
    root = Path(_git(repository, "rev-parse", "--show-toplevel"))
    if not (root / RECORDS).is_dir():
        raise ConfigError(
            f"{root} has no folder {RECORDS}. A checkout of particlebench was expected. Give it with --repository."
        )
    return root


@contextmanager
def _working_tree(root: Path, branch: str) -> Iterator[Path]:
    """A new branch in a working tree that is removed at the end; the branch too, where something fails."""
    if _git(root, "branch", "--list", branch):
        raise ConfigError(
            f"The branch {branch} is there already, with these records. A new one was expected. Push it, or delete it "
            f"(`git branch -D {branch}`)."
        )
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        _git(root, "worktree", "add", "--quiet", "-b", branch, str(tree), "HEAD")
        try:
            yield tree
        except BaseException:
            _git(root, "worktree", "remove", "--force", str(tree))
            _git(root, "branch", "--quiet", "-D", branch)
            raise
        _git(root, "worktree", "remove", "--force", str(tree))


def _git(folder: Path, *arguments: str) -> str:
    """What git prints. Raises ConfigError where it fails, or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ConfigError("git is not installed. It was expected, as a submission is a branch. Install it.") from error
    if done.returncode:
        raise ConfigError(
            f"git {arguments[0]} failed in {folder} ({' '.join(done.stderr.split())[:200]}). A checkout of "
            f"particlebench in which git can commit was expected. Correct that, or give another with --repository."
        )
    return done.stdout.strip()
