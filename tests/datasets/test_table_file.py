"""Tables of scans as spreadsheets save them, and files that are none."""

import io
import zipfile

import openpyxl
import pytest

from benchmark.datasets import _table_file
from benchmark.datasets._lif_table import read_table
from benchmark.errors import DataError

HEADER = ["scan", "file", "voxel_z_um", "voxel_y_um", "voxel_x_um", "y_min", "y_max", "notes"]
GOOD = ",".join(HEADER) + "\nmüe,a.tif,7,0.425,0.425,120,2890,\nb,b.tif,7,1,1,,,x\n"
EUROPEAN = GOOD.replace(",", ";").replace("0.425", "0,425").replace("7;", "7,0;")


def table(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [EUROPEAN, EUROPEAN.replace(";", "\t"), "sep=;\n" + EUROPEAN, EUROPEAN.encode("utf-16"),
     EUROPEAN.encode("utf-8-sig"), EUROPEAN.replace("\n", "\r\n"), EUROPEAN.replace("\n", ";;\n"),
     GOOD.replace("0.425", '"0,425"'),
     '"' + EUROPEAN.replace("notes\n", "notes\n\n;;;;;;;\n").replace("scan;", 'scan";', 1)],
)  # fmt: skip
def test_tables_of_european_spreadsheets_say_the_same(content, tmp_path):
    expected = read_table(table(tmp_path / "good.csv", GOOD))
    assert [row.scan for row in expected] == ["b", "müe"] and expected[1].voxel_um == (7.0, 0.425, 0.425)
    assert expected[1].cuts == {"y_min": 120, "y_max": 2890}
    assert read_table(table(tmp_path / "a.csv", content)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("latin-1"), r"a\.csv, row 2, is not encoded in UTF-8.*`CSV UTF-8`"),
        (GOOD.encode("utf-16-le"), "NUL bytes|not encoded"),
        (GOOD.replace(",120,2890,\n", ",120\n"), "row 2: 6 values for 8 columns"),
        (GOOD.replace("120", "1.000"), "y_min is '1.000'. A whole number"),
        (GOOD.replace("7,0.425", '"1.007,5",0.425'), "voxel_z_um is '1.007,5'"),
        (GOOD.replace("a.tif", '"a.tif'), "cannot be read"),
        (GOOD.replace("a.tif", "a\0.tif"), "NUL bytes"),
        (GOOD.replace("a.tif", "a\x07.tif"), "A path inside the table's folder"),
        (GOOD.replace("müe", ".."), "scan is '..'"),
        (GOOD.replace("notes", "axes").replace(",x\n", ",xyz\n"), "axes is 'xyz'. zyx, or nothing"),
        (GOOD.replace("a.tif", "x" * 200_000), "cannot be read"),
    ],
)  # fmt: skip
def test_the_cause_is_named(content, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_table(table(tmp_path / "a.csv", content))


def test_a_table_larger_than_any_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(_table_file, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="larger than a table of scans can be"):
        read_table(table(tmp_path / "a.csv", GOOD + "c,c.tif,7,1,1,,,\n" * 100))


def spreadsheet(path, rows, change=lambda name, text: text):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name).decode()))
    return path


def test_empty_cells_at_the_end_of_a_row_of_a_spreadsheet_are_empty(tmp_path):
    path = spreadsheet(tmp_path / "a.xlsx", [[*HEADER, None], ["b", "b.tif", 7, 0.425, "0,425"], [None] * 5])
    (row,) = read_table(path)
    assert row.voxel_um == (7.0, 0.425, 0.425) and row.cuts == {}
    with pytest.raises(DataError, match="voxel_x_um is ''"):
        read_table(spreadsheet(tmp_path / "b.xlsx", [HEADER, ["b", "b.tif", 7, 0.425]]))


MORE = {
    "xl/worksheets/sheet1.xml": ("</row>", "<c/>" * 1_100_000 + "</row>"),
    "xl/styles.xml": ("<fonts", " " * 5_000_000 + "<fonts"),
}


@pytest.mark.parametrize("part", MORE)
def test_a_spreadsheet_that_unpacks_to_more_than_a_table_is_refused_unread(part, tmp_path, monkeypatch):
    """Of a million empty cells openpyxl makes lists of 400 MB."""
    path = spreadsheet(
        tmp_path / "a.xlsx", [HEADER], lambda name, text: text.replace(*MORE[part], 1) if name == part else text
    )
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(openpyxl, "load_workbook", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(DataError, match="larger than a table of scans can be"):
        read_table(path)


@pytest.mark.parametrize("nul", ["\0", "&#0;", "&#x0;"])
def test_a_name_with_a_nul_byte_in_a_spreadsheet_is_one_sentence(nul, tmp_path):
    rows = [HEADER, ["b", "b.tif", 7, 1, 1]]
    path = spreadsheet(tmp_path / "a.xlsx", rows, lambda _, text: text.replace("b.tif", f"b{nul}.tif"))
    with pytest.raises(DataError, match=r"a\.xlsx cannot be read: it is damaged.* expected\. Save it again as CSV\.$"):
        read_table(path)


def test_claimed_dimensions_of_a_spreadsheet_are_not_believed(tmp_path):
    rows = [HEADER, ["b", "b.tif", 7, 1, 1]]
    claim = spreadsheet(tmp_path / "a.xlsx", rows, lambda _, text: text.replace("A1:H2", "A1:XFD1048576"))
    assert [row.scan for row in read_table(claim)] == ["b"]
    far = spreadsheet(tmp_path / "b.xlsx", rows, lambda _, text: text.replace('<row r="2"', '<row r="1048576"'))
    with pytest.raises(DataError, match="larger than a table of scans can be"):
        read_table(far)
