"""BibTeX of what a result stands on: the suite, and the papers that its model, pretext, data and task name.

The entries are in `citations.bib`, each below a line with the text by which `reference` and `citation` fields name it.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from benchmark import __version__, registry, tasks
from benchmark.contracts.pretext import model_and_pretext
from benchmark.errors import BenchmarkError, unknown_name
from benchmark.records.record import RunRecord
from benchmark.records.store import read_record

SUITE = f"""@software{{particlebench,
  title = {{particlebench: one fair benchmark for models of particle images}},
  author = {{{{The particlebench developers}}}},
  version = {{{__version__}}}, license = {{Apache-2.0}}
}}"""


def entries() -> dict[str, str]:
    """What names a paper in `reference` fields -> its BibTeX entry."""
    text = resources.files("benchmark.reports").joinpath("citations.bib").read_text(encoding="utf-8")
    found = re.findall(r"^% ([^\n]+)\n(@\w+\{.*?^\})", text, re.MULTILINE | re.DOTALL)
    return dict(found)


def bibliography(what: str) -> list[str]:
    """The suite's entry, and those of a model, `model+pretext`, dataset, task, or the file of a record.

    Raises UnknownNameError for what is none of these, RecordError for a damaged record.
    """
    path = Path(what)
    references = _of_record(read_record(path)) if path.suffix == ".json" else _of_name(what)
    every = entries()
    named = [every[name] for reference in references for name in every if name in reference]
    return [SUITE, *dict.fromkeys(named)]


def _of_record(record: RunRecord) -> list[str]:
    """References of a record's model, pretext, task and data, as far as the suite knows them."""
    names = [record.method, record.task["name"], record.dataset["name"]]
    return [reference for name in names for reference in _known(name)]


def _of_name(name: str) -> list[str]:
    known = _known(name)
    if not known:
        raise unknown_name(
            "thing to cite", name, [*registry.model_names(), *registry.dataset_names(), *tasks.TASKS],
            "Type a model, a dataset, a task, or the path of a record.",
        )  # fmt: skip
    return known


def _known(name: str) -> list[str]:
    """References of what has this name; empty for what the suite does not know."""
    try:
        model, pretext = model_and_pretext(name)
    except BenchmarkError:
        return []
    found: list[str] = []
    if model in registry.model_names():
        spec = registry.model_spec(model)
        found += [spec.reference, *_of_pretext(pretext or getattr(spec, "pretext", None))]
    elif name in registry.dataset_names():
        found.append(registry.dataset_spec(name).info.citation)
    elif name in tasks.TASKS:
        found.append(tasks.TASKS[name].reference)
    return found


def _of_pretext(name: str | None) -> list[str]:
    return [registry.pretext_spec(name).reference] if name in registry.pretext_names() else []
