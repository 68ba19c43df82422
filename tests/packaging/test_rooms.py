"""The direction of imports, read from the syntax trees: nothing below knows of anything above."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from builders.paths import ROOT

PLUGINS = ("models", "baselines", "pretexts", "datasets", "cuda")

# From the ground up: a room may import itself and the rooms before it. The ground is what lies directly in
# `benchmark/`, but for `registry` and `tasks`, which hand out what the contracts declare, and the ways in.
ROOMS = (
    "ground", "hardware", "ops", "sparse", "contracts", "registry", "tasks", "metrics", "data", "exchange", "records",
    "training", "checkpoints", "evaluation", "reports", "plots", "runs", "perf", "site", "studies", "verification",
    "cli", "api", "__main__",
)  # fmt: skip
RANK = {room: rank for rank, room in enumerate(ROOMS)}
MOST_AT_THE_TOP = 15  # modules directly in `benchmark/`
FOR_PLUGINS = {"ground", "contracts", "ops", "sparse"}
SHARED_WITH = {
    "models": FOR_PLUGINS,
    "baselines": FOR_PLUGINS,
    "pretexts": FOR_PLUGINS,
    "cuda": FOR_PLUGINS | {"hardware"},
    "datasets": FOR_PLUGINS | {"data", "hardware"},
}
THIRD_PARTY = {
    "models": {"torch", "numpy"},
    "baselines": {"torch", "numpy", "scipy", "sklearn", "torch_geometric"},
    "pretexts": {"torch", "numpy"},
    "datasets": {
        "numpy",
        "scipy",
        "h5py",
        "numba",
        "matplotlib",
        "uproot",
        "awkward",
        "tifffile",
        "zarr",
        "openpyxl",
    },
    "cuda": {"torch", "triton", "numpy"},
}
KERNELS_FOR = {"benchmark.ops.triton", "benchmark.sparse.triton"}  # the files that may name `cuda/`
OPTIONAL = {
    "MinkowskiEngine", "huggingface_hub", "openpyxl", "optuna", "plotly", "pynvml", "pytorch3d", "spconv",
    "spconv_triton", "submitit", "uproot", "zarr",
}  # fmt: skip


def sources():
    """(path relative to the root, module name, syntax tree) of everything that a wheel holds."""
    for folder in ("benchmark", *PLUGINS):
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT)
            parts = relative.with_suffix("").parts
            name = ".".join(parts if folder == "benchmark" else ("benchmark", *parts)).removesuffix(".__init__")
            yield relative, name, ast.parse(path.read_text(encoding="utf-8"))


def imported(name, tree, is_package):
    """Absolute names of all that a module imports, in functions too, and whether each is at its top level."""
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in NAMES else base, id(node) in top


NAMES = {name for _, name, _ in sources()}
MODULES = {
    name: (path, list(imported(name, tree, path.name == "__init__.py"))) for path, name, tree in sources()
}  # fmt: skip


def room(module):
    """`data` of `benchmark.data.packed`; None for what is not the suite's."""
    names = module.split(".")
    if names[0] != "benchmark":
        return None
    is_own_room = len(names) > 1 and (names[1] in RANK or names[1] in PLUGINS)
    return names[1] if is_own_room else "ground"


def test_the_test_sees_the_code():
    assert "benchmark.data.packed" in MODULES
    assert ("benchmark.contracts.data", True) in MODULES["benchmark.contracts"][1]
    assert "benchmark.models.polarmae" in MODULES
    relative = [m for m, _ in MODULES["benchmark.datasets.pilarnet_m"][1]]
    assert "benchmark.datasets._pilarnet" in relative


def test_every_folder_is_a_room_and_few_modules_lie_outside_one():
    folders = {p.name for p in (ROOT / "benchmark").iterdir() if (p / "__init__.py").is_file()}
    assert folders <= set(ROOMS)
    assert len(list((ROOT / "benchmark").glob("*.py"))) <= MOST_AT_THE_TOP


@pytest.mark.parametrize("name", [n for n in MODULES if room(n) not in (None, *PLUGINS)])
def test_rooms_import_downwards_only(name):
    own = room(name)
    for module, _ in MODULES[name][1]:
        other = room(module)
        if other in (None, own):
            continue
        if other == "cuda":
            assert name in KERNELS_FOR, f"{name} names the kernels"
            continue
        if other in PLUGINS:
            assert own == "cli" and module.startswith("benchmark.datasets.larsim"), f"{name} names the plugin {module}"
            continue
        assert RANK[other] < RANK[own], f"{name} imports {module}, whose room stands above"


def test_no_modules_import_each_other_in_a_circle():
    """Kahn's algorithm: leaves are taken away until nothing is left."""
    arrows = {n: {m for m, _ in found if m in MODULES and m != n} for n, (_, found) in MODULES.items()}
    while leaves := {n for n, targets in arrows.items() if not targets & set(arrows)}:
        arrows = {n: targets for n, targets in arrows.items() if n not in leaves}
    assert not arrows, f"import circles among {sorted(arrows)}"


@pytest.mark.parametrize("name", [n for n in MODULES if room(n) in PLUGINS])
def test_models_and_datasets_use_the_contracts_only(name):
    import sys

    folder = room(name)
    for module, _ in MODULES[name][1]:
        other = room(module)
        if module == "benchmark" or (other == folder and module.count(".") < 2):
            continue
        if other == folder:
            sibling = module.split(".")[2]
            assert sibling.startswith("_") or sibling == name.split(".")[2] or folder in ("datasets", "cuda"), (
                f"{name} imports the public {module}; what is shared goes into a file that starts with _"
            )
        elif (folder, other) == ("models", "baselines"):
            assert module.split(".")[2].startswith("_"), f"{name} imports the public {module}"
        elif other is not None:
            assert other in SHARED_WITH[folder], f"{name} imports {module}"
        else:
            package = module.split(".")[0]
            if package not in (*sys.stdlib_module_names, "benchmark"):
                assert package in THIRD_PARTY[folder], f"{name} imports {package}"


def test_no_flat_import_of_the_folders_whose_names_belong_to_others():
    flat = [(n, m) for n, (_, found) in MODULES.items() for m, _ in found if m.split(".")[0] in PLUGINS]
    assert not flat


def test_the_linter_bans_flat_imports_too():
    text = (ROOT / "pyproject.toml").read_text()
    banned = text.partition("flake8-tidy-imports.banned-api]")[2]
    assert all(f'"{folder}".msg' in banned for folder in PLUGINS)
    assert '"TID"' in text


def test_folders_of_plugins_are_no_packages_and_shadow_nothing():
    for folder in PLUGINS:
        assert not (ROOT / folder / "__init__.py").exists()
    names = {p.stem for p in (ROOT / "cuda").glob("*.py")}
    assert not names & {"bindings", "core", "pathfinder"}


def test_optional_packages_are_imported_in_one_file_each_and_only_when_used():
    users = defaultdict(set)
    for path, found in MODULES.values():
        for module, is_top in found:
            package = module.split(".")[0]
            if package in OPTIONAL:
                users[package].add(str(path))
                assert not is_top, f"{path} imports {package} as soon as it is imported"
    assert set(users) == OPTIONAL
    assert all(len(paths) == 1 for paths in users.values()), dict(users)


TORCH_FREE = [
    *(m for m in MODULES if room(m) in ("records", "reports", "metrics", "cli")), "benchmark.api", "benchmark.tasks",
    "benchmark.settings", "benchmark.registry", "benchmark.data.budget", "benchmark.runs.config",
    "benchmark.runs.resolve", "benchmark.runs.cost_estimate",
]  # fmt: skip


@pytest.mark.parametrize("start", TORCH_FREE)
def test_records_and_reports_need_no_torch(start):
    seen, queue, packages = set(), [start], set()
    while queue:
        name = queue.pop()
        if name in seen or name not in MODULES:
            packages.add(name.split(".")[0])
            continue
        seen.add(name)
        queue += [module for module, is_top in MODULES[name][1] if is_top]
        queue += [name.rpartition(".")[0]] if name.count(".") > 1 else []
    assert not packages & {"torch", "lightning", "numba", "scipy", "h5py", "safetensors"}


def test_nothing_is_asserted_of_the_users_input():
    """Assertions vanish under `python -O`; those left in the core state what the code itself guarantees."""
    allowed = {"benchmark/runs/pretrained.py"}
    found = {
        str(path)
        for path, _, tree in sources()
        if path.parts[0] == "benchmark" and any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    }
    assert found <= allowed


def functions(folder):
    """(path, definition) of every function below a folder of `benchmark/`."""
    for path, _, tree in sources():
        if path.is_relative_to(Path("benchmark") / folder):
            yield from ((path, node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def n_parameters(function):
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def n_lines(function):
    """Lines of the body, without the docstring: a declaration of many options is no long function."""
    first = function.body[1 if ast.get_docstring(function) and len(function.body) > 1 else 0]
    return function.end_lineno - first.lineno + 1


def test_functions_of_runs_take_few_parameters():
    assert not [(str(path), f.name) for path, f in functions("runs") if n_parameters(f) > 6]


def test_functions_are_short():
    assert not [(str(path), f.name) for path, f in functions(".") if n_lines(f) > 45]
