"""The documents' commands run, their links lead somewhere, and what an error tells the user to type exists."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from benchmark import registry, tasks
from benchmark.cli import add_commands, app, main
from benchmark.contracts import DatasetInfo, Frame
from benchmark.data.preparation import preparation
from benchmark.records.store import read_record
from benchmark.reports.tables import markdown_table, run_table
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from builders import calo_files, npz_files
from builders.batches import inputs_of, make_batch, make_model
from builders.lif_files import CHAIN, write_folder
from builders.paths import ROOT
from builders.synthetic import make_data

PLAIN = DatasetInfo("plain", "", "", "", Frame((0, 0, 0), 1.0, (1, 1, 1), "mm"), "MeV", ())  # no label but the tasks'
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
START = "python -m benchmark"
README_BYTES = 9_000  # what one reads before a first run; all else has a page


def place(path):
    """A document's path from the root."""
    return path.relative_to(ROOT).as_posix()


def blocks(path, *languages):
    """Texts of the fenced blocks of a document in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands():
    """(document, arguments) of every fenced line that starts the suite's program, in order."""
    for path in DOCUMENTS:
        for text in blocks(path, "console", "sh", "bash", "shell"):
            for line in text.replace("\\\n", " ").splitlines():
                typed = shlex.split(line.removeprefix("$ "), comments=True)
                if typed[:3] == START.split():
                    yield pytest.param(path, typed[3:], id=f"{place(path)}: {' '.join(typed[3:])}")


def parse(arguments):
    """The name and values of the command that these arguments mean, without running it. Raises where they mean none."""
    add_commands()
    command, context, name = typer.main.get_command(app), None, "benchmark"
    while True:
        context = command.make_context(name, list(arguments), parent=context)
        if not hasattr(command, "resolve_command"):
            return name, context.params
        state = vars(context)  # click 8.2 renamed the attribute
        rest = [*(state.get("_protected_args") or state.get("protected_args") or []), *context.args]
        if not rest:
            return name, context.params
        name, command, arguments = command.resolve_command(context, rest)


COMMANDS = list(commands())


def test_the_readme_shows_the_main_commands():
    names = [p.values[1][0] for p in COMMANDS if p.values[0].name == "README.md"]
    assert names[0] == "run"
    assert {"run", "list", "data", "leaderboard", "doctor"} <= set(names)


def test_a_command_that_does_not_exist_would_be_noticed():
    for wrong in (["rum"], ["run", "--modle", "x"], ["run"], ["data", "info"], ["run", "--model", "x", "--draw", "y"]):
        with pytest.raises(typer.BadParameter.__mro__[1]):  # a usage error of click, wherever typer keeps that class
            parse(wrong)


@pytest.mark.parametrize(("path", "typed"), COMMANDS)
def test_every_command_of_the_documents_means_something(path, typed, workplace):
    name, values = parse(typed)
    if name == "run" and values["model"] not in registry.model_names():
        assert f'name="{Path(values["model"]).stem}"' in path.read_text()  # a model that the document itself defines
    elif name == "run":
        taken = ("model", "task", "dataset", "preset", "labels", "mode", "draw", "seed")
        resolve(Request(**{k: values[k] for k in taken}, assignments=tuple(values["set_"] or ())))
    elif name in ("info", "prepare") and "name" in values:  # of a dataset, not of a checkpoint
        registry.dataset_spec(values["name"])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder where the documents' commands run one after another, with CONTRIBUTING's model and dataset in it."""
    root = tmp_path_factory.mktemp("docs")
    data = make_data(root)
    rng = np.random.default_rng(3)
    calo_files.write_folder(root / "calo", rng, calo_files.make_geometry(rng), {"train": 12, "val": 4, "test": 6})
    write_folder(root / "lif", scans=("a", "b", "c"))
    npz_files.write_folder(root / "npz", {"train": 12, "val": 2, "test": 3})
    for path in DOCUMENTS:
        for text in blocks(path, "python"):
            name = re.search(r'^(?:SPEC = ModelSpec|INFO = DatasetInfo)\(\s*name="([\w-]+)"', text, re.MULTILINE)
            if name:
                (root / f"{registry.canonical(name[1])}.py").write_text(text)
    registry.dataset_spec(str(root / "my_npz.py"))  # from here on a dataset like those of the suite
    (root / "leaderboards").symlink_to(ROOT / "leaderboards")
    for path, text in scripts():
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", text], cwd=root, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, f"{path}\n{text}\n{done.stderr}"
    return root, data


def scripts():
    """(document, text) of every block of Python that defines no model or dataset: a reader runs it as it is."""
    for path in (p for p in DOCUMENTS if p.name != PREDICTIONS):
        for text in blocks(path, "python"):
            if "SPEC = " not in text:
                yield path, text


# they need a network, others' weights, a training of minutes, or many events; figures of pions have tests of their own,
# and so has the page that goes from `export` to `score`
PREDICTIONS = "predictions.md"  # tests/runs/test_reported.py
NOT_RUN = ("transfer", "evaluate", "verify", "study", "plot", "export", "score", "submit")
NOT_RUN_PARTS = (["data", "prepare"], ["display", "--run"], *(
    ["checkpoint", name] for name in ("import", "download", "upload")
))  # fmt: skip


# of the small scans that stand in for anybody's
SIMULATED = ["--set", "data.train=8", "--set", "data.val=2", "--set", "data.test=4"]
TILES = [part for name, value in CHAIN.items() for part in ("--set", f"{name}={value}".replace(" ", ""))]


def shortened(typed, root, data):
    """The same command on tiny events and with few steps; None where it needs a network, a record, weights, minutes."""
    if typed[0] in NOT_RUN or typed[:2] in NOT_RUN_PARTS:
        return None
    if typed[0] in ("curve", "compare", "training-curves", "sweep", "display", "checkpoint"):
        return of_what_there_is(typed, root, data)
    if "--checkpoint" in typed:
        return None
    if typed[0] == "leaderboard" and {"--summary", "--statement"} & set(typed):  # of several methods and events
        return [*typed, "--records", str(ROOT / "leaderboards" / "records")]
    if typed[0] == "leaderboard":
        typed = [word.replace("runs/trials", "leaderboards/trials") for word in typed]
    typed = [str(ROOT / word) if word.startswith("leaderboards/") else word for word in typed]
    if typed[:2] == ["data", "info"] and typed[2] == "calo-sim":
        return ["data", "info", "atlas-pions", "--data", str(root / "calo")]
    if typed[:2] == ["data", "info"] and typed[2] == "lif-sim":
        return ["data", "info", "lif-scans", "--data", str(root / "lif"), *TILES]
    if typed[:3] == ["data", "info", "my-npz"]:
        return ["data", "info", str(root / "my_npz.py"), "--data", str(root / "npz")]
    if typed[:2] == ["data", "simulate"]:
        typed[typed.index("--events") + 1] = "14"
        return [*typed, "--workers", "1"]
    if typed[0] not in ("run", "pretrain", "tune"):
        return typed
    labels = [("--labels", "6")] if typed[0] != "pretrain" and "probe.protocol=published" not in typed else []
    labels += [("--steps", "2"), ("--rates", "1e-3,1e-2")] if typed[0] == "tune" else []
    task = tasks.task(typed[typed.index("--task") + 1] if "--task" in typed else "lartpc-segmentation")
    calo = task.detector == "calorimeter"
    lif = task.detector == "lif"
    where = ("atlas-pions", root / "calo") if calo else ("lif-scans", root / "lif") if lif else ("pilarnet-m", data)
    if "my-npz" in typed:
        where = (str(root / "my_npz.py"), root / "npz")
    for option, value in (*labels, ("--dataset", where[0]), ("--data", str(where[1]))):
        if option in typed:
            typed[typed.index(option) + 1] = value
        else:
            typed += [option, value]
    where = typed.index("--model") + 1
    own = root / f"{Path(typed[where]).stem}.py"
    if own.exists():
        typed[where] = str(own)
    few = ["--preset", "tiny", "--threads", "1", "--device", "cpu", "--set", "train.steps=2"]
    few += TILES if lif else ["--set", "min_cells=1" if calo else "min_points=0"]
    if typed[0] == "pretrain" or (typed[where] in ("polarmae", "pointmae", "volume_mae") and "scratch" not in typed):
        few += ["--set", "pretrain.steps=2"]
    return [*typed, *few]


def of_what_there_is(typed, root, data):
    """The same command on the project's own records and weights, or on one tiny event; a sweep is not trained."""
    records = ROOT / "leaderboards" / "records" / "lif-segmentation"
    if typed[0] == "sweep":
        # of the large sweep one budget, on a few events
        few = ["--labels", "4", *SIMULATED] if "labels" in typed else []
        return [*typed, *few, *(["--dry-run"] if "--dry-run" not in typed else [])]
    if typed[0] == "checkpoint":
        return ["checkpoint", "info", str(ROOT / "models/weights/polarmae.safetensors")]
    if typed[0] == "compare":
        return ["compare", *(str(path) for path in sorted(records.glob("lif-sim/*.json"))[:2])]
    if typed[0] != "display":
        if "--records" in typed:
            return typed
        records = records if "lif-segmentation" in typed else ROOT / "leaderboards" / "small"
        there = [word.replace("transformer", "gnn").replace("300", "60") for word in typed]
        return [*there, "--records", str(records)]
    own = ["--file", str(next(data.rglob("test/*.h5")))] if "--file" in typed else ["--dataset", "pilarnet-m"]
    own += [] if "--file" in typed else ["--data", str(data), "--set", "min_points=0"]
    return ["display", *own, "--event", "0", *typed[typed.index("--out") :]]


def test_the_commands_of_the_documents_run_one_after_another(workplace, monkeypatch, capsys):
    root, data = workplace
    monkeypatch.chdir(root)
    monkeypatch.delenv("PARTICLEBENCH_RECORDS", raising=False)
    run = set()
    for parameter in COMMANDS:
        short = shortened(parameter.values[1], root, data)
        if short is None or tuple(short) in run:
            continue
        try:
            main(short)
        except SystemExit as end:
            assert not end.code, f"{parameter.id}\n{capsys.readouterr().err}"
        assert capsys.readouterr().out, parameter.id
        run.add(tuple(short))
    assert {words[0] for words in run} >= {"run", "curve", "compare", "display", "sweep", "checkpoint"}


def test_contributing_shows_a_whole_model(workplace):
    root, _ = workplace
    spec = registry.model_spec(str(root / "my_deep_sets.py"))
    assert {"default", "tiny"} <= set(spec.presets)
    assert len((root / "my_npz.py").read_text().splitlines()) < 120


def test_contributing_shows_a_whole_pretext(tmp_path):
    (text,) = (b for b in blocks(ROOT / "CONTRIBUTING.md", "python") if "SPEC = PretextSpec" in b)
    path = tmp_path / "my_pretext.py"
    path.write_text(text)
    config = resolve(Request("gnn", preset="tiny", pretext=str(path)))
    assert config.method == "gnn+my_pretext" and config.pretext_config.ratio == 0.3
    batch, draws = make_batch(config.task), [np.random.default_rng(i) for i in range(3)]
    views = registry.pretext_spec(str(path)).make_views(config.pretext_config, batch, 0.0, draws).to_torch()
    model = make_model("pointnet", config.task, hidden=True)
    pretext = registry.pretext_spec(str(path)).build(config.pretext_config, model, inputs_of(config.task))
    loss, parts = pretext.loss(model, views, 0.0)
    assert loss.isfinite() and loss.requires_grad and parts
    assert 0 < views.views.hidden.sum() < batch.n_points


@pytest.mark.parametrize("name", ["masked", "distillation", "contrast"])
def test_the_page_on_pretraining_tells_every_setting_of_a_pretext(name):
    from dataclasses import fields

    from benchmark.pretexts._views import ViewConfig

    text = (ROOT / "docs/pretraining.md").read_text()
    part = text.split(f"### {name}\n")[1].split("\n### ")[0]
    rows = "".join(line.split("|")[1] for line in part.splitlines() if line.startswith("| `"))
    named = {*re.findall(r"`(\w+)`", rows)}
    settings = {f.name for f in fields(registry.pretext_spec(name).config)}
    if name == "contrast":  # of views, where the page points to distillation
        settings -= {f.name for f in fields(ViewConfig)}
    assert named == settings


def test_contributing_names_the_pinned_torch():
    pinned = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"pip install {pinned[0]}\n" in (ROOT / "CONTRIBUTING.md").read_text()


def test_contributing_lists_the_labels_of_every_task():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| ([a-z_, ]+) \|$", text, re.MULTILINE))
    del rows["task"]
    needed = {t.name: preparation(t).suited(PLAIN).labels(t) for t in tasks.TASKS.values()}
    assert rows == {name: ", ".join(labels) or "none" for name, labels in needed.items()}


PYTEST = "python -m pytest "


def test_contributing_tests_its_model_and_its_dataset(workplace):
    root, _ = workplace
    paths = {
        "path/to/my_deep_sets.py": root / "my_deep_sets.py",
        "my-npz": root / "my_npz.py",
        "my_events": root / "npz",
    }
    lines = [x for b in blocks(ROOT / "CONTRIBUTING.md", "console") for x in b.splitlines() if x.startswith(PYTEST)]
    typed = [x.removeprefix(PYTEST).split() for x in lines if "-k" not in x]  # -k: of a file put into the suite
    assert len(typed) == 2
    for words in typed:
        command = [*PYTEST.split()[1:], "-p", "no:cacheprovider", *(str(paths.get(w, w)) for w in words)]
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and " passed" in done.stdout and "skipped" not in done.stdout, done.stdout


@pytest.mark.parametrize("path", DOCUMENTS, ids=place)
def test_links_anchors_and_figures_of_the_documents_exist(path):
    wrong = []
    for link in re.findall(r'(?:\]\(|<img src=")([^)\s"]+)', without_code(path)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        found = path.parent / target if target else path
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found)):
            wrong.append(link)
    assert not wrong


def without_code(path):
    """A document without its fenced blocks, whose brackets are no links."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """Anchors of a document's headings, as they are made for repositories and for the site."""
    headings = re.findall(r"^#+ (.*)$", without_code(path), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_navigation_of_the_site():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    listed = re.findall(r": ([\w/]+\.md)$", text, re.MULTILINE)
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in DOCUMENTS if (ROOT / "docs") in p.parents]
    assert sorted(listed) == sorted([*pages, "index.md", "contributing.md"])  # these two are README and CONTRIBUTING


def test_the_site_fetches_nothing_from_a_network():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "://" not in text
    assert "font: false" in text
    assert (ROOT / "docs" / re.search(r"polyfills: \[(.*?)\]", text)[1]).is_file()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_the_folders_of_the_layout_exist():
    layout = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Layout")[2]
    folders = re.findall(r"^    (\w+)/ ", layout, re.MULTILINE)
    assert {"benchmark", "models", "baselines", "datasets", "cuda", "docs", "tests"} <= set(folders)
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_every_make_target_of_the_documents_exists():
    texts = [line for path in DOCUMENTS for line in "\n".join(blocks(path, "console", "sh")).splitlines()]
    texts += [inline for path in DOCUMENTS for inline in re.findall(r"`(make [^`]*)`", path.read_text())]
    targets = {found[1] for text in texts if (found := re.match(r"make ([\w-]+)", text))}
    makefile = (ROOT / "Makefile").read_text()
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def hints():
    """Commands that messages and docstrings of the code tell the user to type, and inline ones of the documents."""
    texts = [
        p for folder in ("benchmark", "models", "baselines", "datasets") for p in sorted((ROOT / folder).rglob("*.py"))
    ]
    found = {}
    for path in (*texts, *DOCUMENTS):
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))  # a message over several lines is one text
        for hint in re.findall(rf"`{START} ([^`\n]+)`", text):
            found.setdefault(re.sub(r"\{[^}]*\}", "pilarnet-m", hint), path.relative_to(ROOT))
    return [pytest.param(hint.split(), id=f"{path}: {hint}") for hint, path in sorted(found.items())]


@pytest.mark.parametrize("typed", hints())
def test_what_messages_tell_the_user_to_type_exists(typed):
    names_a_command = all(re.fullmatch("[a-z]+", word) for word in typed)
    if names_a_command or typed[-1] == "--help":
        with pytest.raises(typer.Exit):
            parse([*(word for word in typed if word != "--help"), "--help"])
    else:
        parse(typed)


def generated():
    """(document, command, table) of every table that stands between comments which name its command."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        shown = r"<!-- result: generated by `(.*?)` -->\n(.*?)<!-- end of result -->"
        for command, table in re.findall(shown, text, re.DOTALL):
            yield pytest.param(path, command, table, id=f"{place(path)}: {command}")


GENERATED = list(generated())


def test_the_pages_show_all_tables():
    shown = {(place(p.values[0]), p.values[1].removeprefix(f"{START} ")) for p in GENERATED}
    board = "leaderboard --records leaderboards"
    assert shown == {
        ("docs/leaderboards.md", f"{board}/records --detector lartpc --format markdown"),
        ("docs/leaderboards.md", f"{board}/small --format markdown"),
        ("docs/calorimeter.md", f"{board}/records --detector calorimeter --format markdown"),
        ("docs/lif.md", f"{board}/records --detector lif --format markdown"),
        ("docs/pretraining.md", "leaderboard --split val --records leaderboards/trials --format markdown"),
        ("docs/pretraining.md", "leaderboard --pretexts --records leaderboards/records --format markdown"),
        ("docs/fairness.md", "fairness --records leaderboards/records --tuning leaderboards/tuning --markdown"),
        ("README.md", f"{board}/labels --statement --format markdown"),
        ("docs/findings.md", f"{board}/labels --statement --format markdown"),
        ("docs/findings.md", f"{board}/labels --format markdown"),
        ("docs/findings.md", "fairness --records leaderboards/labels --tuning leaderboards/tuning --markdown"),
        ("docs/leaderboards.md", f"{board}/records --summary --format markdown"),
    }


@pytest.mark.parametrize(("path", "command", "table"), GENERATED)
def test_tables_are_what_their_command_prints_of_the_committed_records(path, command, table, capsys):
    typed = command.removeprefix(f"{START} ").split()
    main([str(ROOT / word) if word.startswith("leaderboards/") else word for word in typed])
    assert table.strip() == capsys.readouterr().out.strip()


def test_the_readmes_table_is_what_its_command_prints_of_the_committed_record():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pattern = r"```console\n([^\n]*)\n```\n\n<!-- run: (\S+) beside (\S+) -->\n(.*?)<!-- end of run -->"
    command, *names, shown = re.search(pattern, text, re.DOTALL).groups()
    record, beside = (read_record(ROOT / name) for name in names)
    table = run_table(record, beside)
    headers, columns = [c.title for c in table.columns], [list(c.cells) for c in table.columns]
    sides = ["left", *["right"] * (len(columns) - 1)]
    assert shown.strip() == markdown_table(headers, sides, zip(*columns, strict=True))
    _, values = parse(shlex.split(command)[3:])
    config = resolve(Request(**{k: values[k] for k in ("model", "task", "preset", "labels", "mode", "draw", "seed")}))
    chosen = {k: getattr(config, k) for k in ("model", "preset", "mode", "draw", "seed")}
    assert chosen == {k: record.config[k] for k in chosen}
    assert (config.task.name, str(values["labels"])) == (record.task["name"], record.labels)


def test_the_command_behind_the_readmes_figure_writes_it():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    command, image = re.search(r'<!-- figure: (.*?) -->\n<img src="(.*?)"', text).groups()
    name, values = parse(shlex.split(command)[3:])
    assert (name, str(values["out"])) == ("curve", image)


def test_the_page_on_pretraining_tells_what_the_shipped_weights_records_hold():
    page = (ROOT / "docs/pretraining.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- shipped: .*? -->\n(.*?)<!-- end of shipped -->", page, re.DOTALL)
    assert table is not None
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.group(1).strip().splitlines()[2:]]
    expected = []
    paths = [
        p
        for folder in ("models", "baselines")
        for p in sorted((ROOT / folder / "weights").glob("*.json"), reverse=True)
    ]
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        for when, place in (("before training", 0), ("after it", -1)):
            scores = record["probe"]["scores"][place]
            names = ("macro_f1", "f1_shower", "f1_track", "f1_michel", "f1_delta")
            start = [path.stem, f"{record['events']:,}", f"{record['wall_s'] / 60:.0f}", when]
            expected.append([*start, *(f"{scores[name]:.3f}" for name in names)])
    assert rows == expected
