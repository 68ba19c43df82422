"""The wheel: whole, beside a user's own `datasets` and `cuda`, and gone without a trace of theirs."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from builders.paths import ROOT

FOLDERS = [
    name for name in ("benchmark", "models", "baselines", "pretexts", "datasets", "cuda") if (ROOT / name).is_dir()
]

EXAMPLE_WEIGHTS = ("example.safetensors", "example.json")
MIB = 2**20


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what is in the tree, so that no build folder of the checkout can add or hide a file."""
    source = tmp_path_factory.mktemp("source")
    for name in (*FOLDERS, "leaderboards"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in EXAMPLE_WEIGHTS:
        (source / "models" / "weights").mkdir(exist_ok=True)
        (source / "models" / "weights" / name).write_text("weights that ship")
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder of packages with a user's own `datasets` and `cuda`, and the wheel installed beside them."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("datasets", "cuda"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"OWNER = 'the user of {name}'\n")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", folder, wheel)
    return folder


def python(site, *arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COLUMNS")}
    return run(sys.executable, *arguments, cwd=site.parent, env={**environment, "PYTHONPATH": str(site)})


def modules_of_the_tree():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT).as_posix()
            yield relative if folder == "benchmark" else f"benchmark/{relative}"


def test_the_wheel_holds_every_module_and_data_file(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    assert not set(modules_of_the_tree()) - held
    data = {
        f"benchmark/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "datasets/larsim/data").iterdir() if p.is_file()
    }
    data |= {f"benchmark/site/assets/{p.name}" for p in (ROOT / "benchmark/site/assets").iterdir()}
    data |= {"benchmark/leaderboards/published.csv", "benchmark/leaderboards/sweeps/small.toml"}
    assert len(data) > 8
    assert not data - held
    assert not [name for name in held if name.startswith("benchmark/leaderboards/records")]  # a wheel brings no results
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_no_message_names_a_page_that_only_a_checkout_has():
    named = []
    for path in (p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docstrings)
        named += [f"{path.name}: {n.value}" for n in texts if re.search(r"docs/\w+|CONTRIBUTING", str(n.value))]
    assert named == []


def test_the_wheel_holds_the_weights_that_ship_and_they_are_small(wheel):
    sizes = {i.filename: i.file_size for i in zipfile.ZipFile(wheel).infolist()}
    examples = [f"models/weights/{name}" for name in EXAMPLE_WEIGHTS]
    weights = [
        p.relative_to(ROOT).as_posix() for folder in ("models", "baselines") for p in (ROOT / folder).glob("weights/*")
    ]
    assert all(f"benchmark/{name}" in sizes for name in (*examples, *weights))
    assert sum(size for name, size in sizes.items() if "/weights/" in name) <= 16 * MIB


def test_the_wheel_claims_no_name_but_its_own(wheel):
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert len(top) == 2
    assert "benchmark" in top
    assert all(name == "benchmark" or name.startswith("particlebench-") for name in top)


def test_the_wheel_says_what_it_needs(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith("METADATA"))
    metadata = archive.read(name).decode()
    assert "Requires-Python: >=3.10" in metadata
    assert "Requires-Dist: torch<3,>=2.4" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    for extra in ("hub", "cluster", "test"):
        assert f"Provides-Extra: {extra}" in metadata
    (entry,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
    assert "particlebench = benchmark.cli:main" in archive.read(entry).decode()


def test_the_installed_command_line_works_beside_the_users_packages(site):
    from benchmark import registry

    listed = python(site, "-m", "benchmark", "list").stdout
    assert all(name in listed for name in (*registry.model_names(), *registry.dataset_names()))
    where = python(
        site, "-c", "import benchmark, benchmark.models.polarmae as m; print(benchmark.__file__, m.__file__)"
    )
    assert all(str(site) in path for path in where.stdout.split())


def test_the_users_packages_stay_theirs(site):
    code = (
        "import datasets, cuda, benchmark.datasets.pilarnet_m as ours\n"
        "print(datasets.OWNER, cuda.OWNER, ours.SPEC.info.name)"
    )
    assert python(site, "-c", code).stdout.strip() == "the user of datasets the user of cuda pilarnet-m"


def test_uninstalling_leaves_the_users_packages(site, tmp_path):
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    code = (
        "import sys, importlib.metadata as m\n"
        f"(d,) = m.distributions(name='particlebench', path=[{str(copy)!r}])\n"
        "[p.unlink() for f in d.files if (p := __import__('pathlib').Path(d.locate_file(f))).exists()]"
    )
    run(sys.executable, "-c", code)  # what pip's uninstall removes: the files that RECORD names
    left = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {"datasets/__init__.py", "cuda/__init__.py"} <= left
    assert not [name for name in left if name.startswith("benchmark/")]


def test_a_bare_checkout_works_without_installing(tmp_path):
    code = "import benchmark.models.polarmae as m, benchmark; print(m.__file__, benchmark.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = run(sys.executable, "-c", code, cwd=tmp_path, env=environment).stdout.split()
    assert found == [str(ROOT / "models" / "polarmae.py"), str(ROOT / "benchmark" / "__init__.py")]


def test_the_constraints_pin_torch_within_the_packages_own_range():
    pins = (ROOT / "constraints.txt").read_text()
    assert "torch==2.13.0" in pins
    assert '"torch>=2.4,<3"' in (ROOT / "pyproject.toml").read_text()


SAY = "import json; from benchmark.hardware.environment import commit; print(json.dumps(commit()))"


def test_a_wheel_says_its_checksum_and_whether_a_file_was_changed(site, tmp_path):
    copy = tmp_path / "packages"
    shutil.copytree(site, copy)
    said = json.loads(python(copy, "-c", SAY).stdout)
    assert (said["commit"], said["dirty"], len(said["wheel_sha256"])) == (None, False, 64)
    with (copy / "benchmark" / "tasks.py").open("a") as file:
        file.write("# changed\n")
    assert json.loads(python(copy, "-c", SAY).stdout) == {**said, "dirty": True}


def test_the_packages_sweep_is_found_by_its_name(site):
    code = "from benchmark.runs.sweep_file import read_sweep; from pathlib import Path; " + (
        "print(read_sweep(Path('small'))['models'])"
    )
    assert "polarmae" in python(site, "-c", code).stdout
