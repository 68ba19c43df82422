"""What a message tells the user to type exists: commands, options, and the packages' names."""

import ast
import re
import shlex

import pytest
import typer

from benchmark.cli import add_commands, app, main
from builders.lif_files import CHAIN, write_folder
from builders.paths import ROOT

START = "python -m benchmark"
FOLDERS = ("benchmark", "models", "baselines", "pretexts", "datasets")
OF_OTHERS = {"--no-build-isolation", "--nproc-per-node", "--nodes", "--ntasks", "--tb"}  # pip, torchrun, srun, pytest


def texts():
    """(file, text) of every string of the code that is no docstring, with 1 in place of what is filled in."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if id(node) in inside | described:
                    continue
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path.relative_to(ROOT), node.value
                elif isinstance(node, ast.JoinedStr):
                    parts = (str(v.value) if isinstance(v, ast.Constant) else "1" for v in node.values)
                    yield path.relative_to(ROOT), "".join(parts)


TEXTS = list(texts())
MESSAGES = [(path, text) for path, text in TEXTS if START in text and text.strip() != START]


def commands():
    """Every command of the program by its words: `run`, `data info`."""
    add_commands()

    def walk(command, words):
        found = getattr(command, "commands", None)
        yield words, command
        for name, below in (found or {}).items():
            yield from walk(below, (*words, name))

    return dict(walk(typer.main.get_command(app), ()))


COMMANDS = commands()


def parsed(typed):
    """Parse a command as the program does. Raises a usage error of click."""
    words, rest = (), list(typed)
    while rest and (*words, rest[0]) in COMMANDS:
        words = (*words, rest.pop(0))
    command = COMMANDS[words]
    if getattr(command, "commands", None) and rest and not rest[0].startswith("-"):
        raise AssertionError(f"no command {' '.join(typed)}")
    return command.make_context(" ".join(words), rest) if words else None


def shown_commands():
    for path, text in MESSAGES:
        for typed in re.findall(rf"`{START} ([^`]+)`", text):
            yield pytest.param(typed, id=f"{path}: {typed}")


@pytest.mark.parametrize("typed", list(shown_commands()))
def test_a_command_in_a_message_is_whole(typed):
    """Nothing is missing: it parses as it stands; a bare name of a command counts as the command."""
    words = shlex.split(typed)
    if words[-1] == "--help" or tuple(words) in COMMANDS:
        assert tuple(w for w in words if w != "--help") in COMMANDS
    else:
        parsed(words)


def test_commands_in_messages_stand_in_quotes():
    """So that a reader sees where they end, and these tests too."""
    help_and_prose = ("benchmark/cli/app.py", "benchmark/cli/__init__.py")
    wrong = [
        (str(path), text) for path, text in MESSAGES
        if str(path) not in help_and_prose
        and text.count(START) != len(re.findall(rf"`{START}[^`]*`", text)) and not text.startswith("not here yet: ")
    ]  # fmt: skip
    assert not wrong


def test_a_remedy_without_its_program_would_be_noticed():
    names = "|".join(words[0] for words in COMMANDS if words)
    wrong = [(str(p), t) for p, t in TEXTS if re.search(rf"\b([Tt]ype|[Rr]un|:) ({names}) --", t)]
    assert not wrong


def test_every_option_in_a_message_exists():
    known = {name for command in COMMANDS.values() for p in command.params for name in (*p.opts, *p.secondary_opts)}
    known |= {"--help", *OF_OTHERS}
    own = {}  # of programs of their own, which a file declares with argparse
    for path, text in TEXTS:
        if re.fullmatch("--[a-z][a-z-]*", text):
            own.setdefault(path, set()).add(text)
    unknown = {
        (str(path), option) for path, text in TEXTS if " " in text
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)
        if option not in known and option not in own.get(path, ())
    }  # fmt: skip
    assert not unknown


def test_weights_that_are_missing_are_made_by_the_command_in_the_message(tmp_path, monkeypatch, capsys):
    write_folder(tmp_path / "lif", scans=("a", "b", "c"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    tiles = [part for name, value in CHAIN.items() for part in ("--set", f"{name}={value}".replace(" ", ""))]
    study = ["study", "reconstruction", "--model", "volume_mae", "--preset", "tiny", "--dataset", "lif-scans"]
    study += ["--data", str(tmp_path / "lif"), "--threads", "1", "--device", "cpu", "--set", "pretrain.steps=2", *tiles]
    with pytest.raises(SystemExit):
        main(study)
    told = capsys.readouterr().err
    (typed,) = re.findall(rf"`{START} (pretrain .*?)` first", told)
    main(shlex.split(typed))
    main(study)
    assert "written: " in capsys.readouterr().out
