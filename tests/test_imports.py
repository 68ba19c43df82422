"""The direction of imports, read from the syntax trees: nothing below knows of anything above."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ("models", "baselines", "datasets", "cuda")

# Each part may import itself and parts of lower ranks. A new part is given its place here.
RANKS = [
    {"errors", "paths", "seeding", "progress", "energy", "workers"},
    {"processes", "cluster", "revisions"},
    {"io"},
    {"compiled", "weights", "hub", "kernels", "staging"},
    {"contracts"},
    {"shown"},
    {"sparse", "ops"},
    {"published", "metrics", "budget", "settings", "tasks", "environment", "backends", "registry"},
    {"data", "records", "heads"},
    {"shipped", "tunings", "resampling"},
    {"averages"},
    {"config", "tables", "submissions", "costs"},
    {"comparisons"},
    {"checkpoints", "fairness", "ranking", "differences"},
    {"formats", "efficiency"},
    {"training", "evaluate", "displays", "flops"},
    {"probe", "curves", "pion_plots"},
    {"frames"},
    {"curve_plots"},
    {"pretrain", "cell_displays"},
    {"run"},
    {"transfer", "verify", "pretrain_alone", "tune", "sweep", "predictions"},
    {"sweep_files"},
    {"studies"},
    {"site", "verification"},
    {"display"},
    {"perf"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
FOR_PLUGINS = {
    "contracts",
    "heads",
    "ops",
    "sparse",
    "compiled",
    "errors",
    "io",
    "paths",
    "progress",
    "seeding",
    "staging",
}
SHARED_WITH = {
    "models": FOR_PLUGINS,
    "baselines": FOR_PLUGINS,
    "cuda": FOR_PLUGINS,
    "datasets": FOR_PLUGINS | {"cluster", "data", "hub"},
}
THIRD_PARTY = {
    "models": {"torch", "numpy"},
    "baselines": {"torch", "numpy", "scipy", "sklearn", "torch_geometric"},
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
            if base in ("benchmark", "benchmark.models", "benchmark.baselines", "benchmark.datasets", "benchmark.cli"):
                for alias in node.names:
                    yield f"{base}.{alias.name}", id(node) in top
            else:
                yield base, id(node) in top
                for alias in node.names:  # a name in it, or a module of the package
                    yield f"{base}.{alias.name}", id(node) in top


MODULES = {
    name: (path, list(imported(name, tree, path.name == "__init__.py"))) for path, name, tree in sources()
}  # fmt: skip


def part(module):
    """`data` of `benchmark.data.packed`; None for what is not the suite's."""
    names = module.split(".")
    if names[0] != "benchmark" or len(names) < 2 or names[1] == "__version__":
        return None
    return "contracts" if names[1] == "losses" else names[1]  # a task's loss is TorchModel's default: one piece


def test_the_test_sees_the_code():
    assert "benchmark.data.packed" in MODULES
    assert ("benchmark.contracts.data", True) in MODULES["benchmark.contracts"][1]
    assert "benchmark.models.polarmae" in MODULES
    relative = [m for m, _ in MODULES["benchmark.datasets.pilarnet_m"][1]]
    assert "benchmark.datasets._pilarnet" in relative


@pytest.mark.parametrize("name", [n for n in MODULES if part(n) not in (None, *PLUGINS)])
def test_the_suite_imports_downwards_only(name):
    own = part(name)
    assert own in RANK, f"{own} has no place in RANKS of this test"
    for module, _ in MODULES[name][1]:
        other = part(module)
        if other in (None, own):
            continue
        if other == "cuda":
            assert name in KERNELS_FOR, f"{name} names the kernels"
            continue
        if other in PLUGINS:
            assert own == "cli" and module.startswith("benchmark.datasets.larsim"), f"{name} names the plugin {module}"
            continue
        assert RANK[other] < RANK[own], f"{name} imports {module}, which stands above or beside it"


@pytest.mark.parametrize("name", [n for n in MODULES if part(n) in PLUGINS])
def test_models_and_datasets_use_the_contracts_only(name):
    import sys

    folder = part(name)
    for module, _ in MODULES[name][1]:
        other = part(module)
        if other == folder:
            sibling = module.split(".")[2]
            assert sibling.startswith("_") or sibling == name.split(".")[2] or folder in ("datasets", "cuda"), (
                f"{name} imports the public {module}; what is shared goes into a file that starts with _"
            )
        elif other is not None:
            assert other in SHARED_WITH[folder], f"{name} imports {module}"
        else:
            package = module.split(".")[0]
            if package not in (*sys.stdlib_module_names, "benchmark"):
                assert package in THIRD_PARTY[folder], f"{name} imports {package}"


def test_files_of_datasets_import_each_other_in_no_circle():
    names = {name for name in MODULES if part(name) == "datasets"}
    graph = {name: {module for module, _ in MODULES[name][1] if module in names and module != name} for name in names}
    assert len(list(TopologicalSorter(graph).static_order())) == len(names)  # raises CycleError with the circle


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


@pytest.mark.parametrize(
    "start",
    [
        "records",
        "revisions",
        "tables",
        "tunings",
        "fairness",
        "ranking",
        "formats",
        "submissions",
        "tasks",
        "budget",
        "settings",
        "metrics.bootstrap",
    ],
)
def test_records_and_reports_need_no_torch(start):
    seen, queue, packages = set(), [f"benchmark.{start}"], set()
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
    allowed = {"benchmark/pretrain.py"}
    found = {
        str(path)
        for path, _, tree in sources()
        if path.parts[0] == "benchmark" and any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    }
    assert found <= allowed
