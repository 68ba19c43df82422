"""Tables as people save them: CSV with commas, semicolons or tabs, in UTF-8 or UTF-16, and XLSX. As rows of texts."""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from benchmark.data.digests import permission_error
from benchmark.errors import BenchmarkError, DataError
from benchmark.packages import missing_error

SEPARATORS = ",;\t|"
MOST_BYTES = 4 << 20  # of a CSV file, and of the cells of an XLSX file: openpyxl takes up to 80 times as much
MOST_OTHER_BYTES = 4 << 20  # of everything else in an XLSX file: styles, themes
MOST_ROWS, MOST_COLUMNS = 20_000, 100
_CELLS = re.compile(r"xl/(worksheets/[^/]*|sharedStrings)\.xml")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")

Rows = list[tuple[int, list[str]]]  # number of the row in the file, from 1, and its cells


def read_rows(path: Path, known: Collection[str]) -> Rows:
    """The rows of a table that are not empty; the first holds the names of the columns, some of `known`.

    Raises DataError for a file that is no table, with the cause, and for a row with more or fewer cells than names.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl's, about styles and extensions
            rows = _xlsx_rows(path) if path.suffix.lower() == ".xlsx" else _csv_rows(path, known)
    except BenchmarkError:
        raise
    except PermissionError as error:
        raise permission_error(path, "table", f"u+rX {path.parent} {path}") from error
    except Exception as error:  # damaged files raise any type of error
        raise DataError(
            f"{path} cannot be read: it is damaged, or not what its name says. A CSV or XLSX table was expected. Save "
            f"it again as CSV."
        ) from error
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in rows if any(c.strip() for c in cells)]
    n_names = len(_without_empty_end(rows[0][1])) if rows else 0
    rows = [(number, cells if any(cells[n_names:]) else cells[:n_names]) for number, cells in rows]
    for number, cells in rows[1:]:
        if len(cells) != len(rows[0][1]):
            raise DataError(
                f"{path}, row {number}: {len(cells)} values for {len(rows[0][1])} columns. As many were expected. "
                f"Correct the row."
            )
    return rows


def is_file(path: Path) -> bool:
    """Is there a file? Raises DataError where its folder may not be entered."""
    try:
        return path.is_file()
    except PermissionError as error:
        raise permission_error(path, "table", f"u+rX {path.parent} {path}") from error


def number_of(text: str) -> float:
    """A number with a decimal point or comma. Raises ValueError."""
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)


def _csv_rows(path: Path, known: Collection[str]) -> Rows:
    if path.stat().st_size > MOST_BYTES:
        raise _too_large(path)
    text = _decoded(path, path.read_bytes())
    lines = text.splitlines()
    first = 1 if lines and re.fullmatch(r"sep=.", lines[0].strip(), re.IGNORECASE) else 0  # a hint that Excel writes
    header = next((line for line in lines[first:] if line.strip()), "")
    separator = max(SEPARATORS, key=lambda s: len({name.strip().strip('"') for name in header.split(s)} & set(known)))
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    return list(enumerate(rows, start=1))[first:]


def _decoded(path: Path, raw: bytes) -> str:
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, row {line}, is not encoded in UTF-8 (nor in UTF-16 with a mark). A table in UTF-8 was expected. "
            f"Save it again as `CSV UTF-8`."
        ) from error
    if "\0" in text:
        raise DataError(f"{path} holds NUL bytes. A table of texts was expected. Save it again as `CSV UTF-8`.")
    return text


def _xlsx_rows(path: Path) -> Rows:
    try:
        import openpyxl
    except ImportError as error:
        raise missing_error("openpyxl", f"The table {path}, unless saved as CSV,") from error
    _check_unpacked_size(path)
    book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    try:
        sheet = book[book.sheetnames[0]]
        sheet.reset_dimensions()  # a file may claim millions of rows that it does not hold
        rows: list[list[str]] = []
        for cells in sheet.iter_rows(values_only=True):
            if len(rows) >= MOST_ROWS or len(cells) > MOST_COLUMNS:
                raise _too_large(path)
            rows.append(["" if cell is None else str(cell) for cell in _without_empty_end(cells)])
    finally:
        book.close()
    n_columns = next((len(cells) for cells in rows if cells), 0)
    return [(i, cells + [""] * (n_columns - len(cells))) for i, cells in enumerate(rows, start=1)]


def _without_empty_end(cells: Sequence[Any]) -> Sequence[Any]:
    """Spreadsheets leave empty cells at the end of a row out, or add them."""
    return cells[: max((i for i, cell in enumerate(cells, start=1) if cell not in (None, "")), default=0)]


def _check_unpacked_size(path: Path) -> None:
    """Raises DataError before a small file unpacks to gigabytes."""
    with zipfile.ZipFile(path) as archive:
        sizes = {part.filename: part.file_size for part in archive.infolist()}
    cells = sum(size for name, size in sizes.items() if _CELLS.fullmatch(name))
    if cells > MOST_BYTES or sum(sizes.values()) - cells > MOST_OTHER_BYTES:
        raise _too_large(path)


def _too_large(path: Path) -> DataError:
    return DataError(
        f"{path} is larger than a table of scans can be. At most {MOST_BYTES >> 20} MB of text, {MOST_ROWS:,} rows and "
        f"{MOST_COLUMNS} columns were expected. Save the table alone, as CSV."
    )
