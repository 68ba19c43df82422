"""The tables of docs/trust.md, from the JSON files beside this one and of the other harnesses.

    PYTHONPATH=.:tests python -m scale.tables            # print them
    PYTHONPATH=.:tests python -m scale.tables --write    # put them into docs/trust.md

A table stands in the page between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "trust.md"
USED = {"cpu_s": "CPU s", "own_mb": "own MB", "resident_mb": "resident MB"}  # of `scale.used`
MARKS = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end of table -->)", re.S)


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/trust.md")
    if parser.parse_args().write:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(tables().values()))


def updated(page: str) -> str:
    """The page with today's tables. Raises KeyError for a table that does not exist."""
    by_name = tables()
    return MARKS.sub(lambda m: f"{m[1]}\n{by_name[m[2]]}\n\n{m[4]}", page)


def tables() -> dict[str, str]:
    """Name -> Markdown."""
    from faults.scenarios import as_markdown
    from fuzz.report import table as fuzz_table

    fuzz = _read(TESTS / "fuzz" / "results.json")
    return {
        "readers": fuzz_table(fuzz["readers"], "file"),
        "damage": fuzz_table(fuzz["kinds"], "damage"),
        "faults": as_markdown(_read(TESTS / "faults" / "results.json")["rows"]).strip(),
        "determinism": determinism_table(_read(TESTS / "scale" / "determinism.json")["results"]),
        "memory": memory_table(_read(TESTS / "scale" / "memory.json")["results"]),
        "records": records_table(_read(TESTS / "scale" / "records.json")["results"]),
    }


def determinism_table(results: Sequence[Mapping[str, Any]]) -> str:
    """A row for each model: what every variation changes."""
    variations = list(dict.fromkeys(r["variation"] for r in results))
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for r in results:
        rows.setdefault(r["model"], {})[r["variation"]] = r
    lines = [f"| model | steps | score | {' | '.join(variations)} |", f"|---|---:|---:|{'---|' * len(variations)}"]
    for model, of_model in rows.items():
        steps, score = (next(iter(of_model.values()))[name] for name in ("steps", "reference"))
        cells = [_change(of_model[v]) if v in of_model else "-" for v in variations]
        lines.append(f"| {model} | {steps} | {score:.4f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _change(result: Mapping[str, Any]) -> str:
    if result["equal_weights"] and result["equal_counts"]:
        return "equal"
    return f"{result['score'] - result['reference']:+.4f} (weights {result['weights']:.0e})"


def memory_table(results: Sequence[Mapping[str, Any]]) -> str:
    """A row for each number of events: what the first command took, and the next."""
    sizes = list(dict.fromkeys((r["grows"], r["n_events"]) for r in results))
    by_key = {(r["grows"], r["n_events"], r["command"]): r["used"] for r in results}
    titles = [f"{command}, {unit}" for command in ("first", "again") for unit in USED.values()]
    lines = [f"| events | split | {' | '.join(titles)} |", f"|---:|---|{'---:|' * len(titles)}"]
    for grows, n in sizes:
        figures = [by_key[grows, n, command][name] for command in ("first", "again") for name in USED]
        lines.append(f"| {n:,} | {grows} | {' | '.join(f'{f:,.0f}' for f in figures)} |")
    return "\n".join(lines)


def records_table(results: Sequence[Mapping[str, Any]]) -> str:
    """A row for each command and number of records."""
    lines = [f"| command | records | {' | '.join(USED.values())} |", f"|---|---:|{'---:|' * len(USED)}"]
    for r in sorted(results, key=lambda r: str(r["command"])):
        figures = [f"{r['used'][name]:,.0f}" for name in USED]
        lines.append(f"| {r['command']} | {r['records']:,} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


if __name__ == "__main__":
    main()
