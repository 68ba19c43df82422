"""The table of scans: what it must hold, and what is refused by row and column."""

import openpyxl
import pytest

from benchmark.datasets._lif_table import read_table
from benchmark.errors import DataError
from builders.lif_files import row_of, write_table

GOOD = [row_of("b", "b.tif", y_min="10", y_max="60", notes="second"), row_of("a", "sub/a.tif")]


def test_rows_come_sorted_with_their_cuts(tmp_path):
    write_table(tmp_path, GOOD)
    a, b = read_table(tmp_path / "scans.csv")
    assert (a.scan, b.scan) == ("a", "b")
    assert a.file == tmp_path / "sub" / "a.tif" and a.voxel_um == (7.0, 0.425, 0.425) and a.split is None
    assert b.cuts == {"y_min": 10, "y_max": 60}
    assert b.limits((5, 80, 90)) == (slice(0, 5), slice(10, 60), slice(0, 90))


def test_a_spreadsheet_says_the_same(tmp_path):
    write_table(tmp_path, GOOD)
    book = openpyxl.Workbook()
    columns = [*GOOD[1], "y_min", "y_max", "notes"]
    book.active.append(columns)
    for row in GOOD:
        book.active.append([int(v) if str(v).isdigit() else v for v in (row.get(c) for c in columns)])
    book.save(tmp_path / "scans.xlsx")
    assert read_table(tmp_path / "scans.xlsx") == read_table(tmp_path / "scans.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voxel_z_um": ""}, r"row 2 \(scan a\): voxel_z_um is ''\. A voxel size in um"),
        ({"voxel_x_um": "-1"}, "voxel_x_um is '-1'"),
        ({"voxel_y_um": "nan"}, "voxel_y_um is 'nan'"),
        ({"y_min": "1.5"}, "y_min is '1.5'. A whole number"),
        ({"y_min": "many"}, "y_min is 'many'"),
        ({"split": "training"}, "split is 'training'. One of train, val, test"),
        ({"file": "../secret.tif"}, "A path inside the table's folder"),
        ({"file": "/etc/passwd"}, "A path inside the table's folder"),
        ({"file": ""}, "file is ''"),
        ({"scan": "a:b"}, "scan is 'a:b'"),
        ({"colour": "red"}, "unknown column 'colour'"),
    ],
)
def test_a_wrong_value_is_refused_by_row_and_column(change, message, tmp_path):
    write_table(tmp_path, [{**row_of("a", "a.tif"), **change}])
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "scans.csv")


OUTSIDE = (
    "../a.tif",
    "b/../../a.tif",
    "..",
    "/etc/passwd",
    "\\\\host\\a.tif",
    "..\\a.tif",
    "C:\\a.tif",
    "a\u202eb.tif",
)


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
@pytest.mark.parametrize("column", ["file", "labels"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leaves_the_tables_folder_is_refused_by_row_and_column(name, column, suffix, tmp_path):
    row = {**row_of("a", "a.tif"), "labels": "", column: name}
    if suffix == ".csv":
        write_table(tmp_path, [row])
    else:
        write_spreadsheet(tmp_path / "scans.xlsx", row)
    with pytest.raises(
        DataError, match=rf"scans\{suffix}, row 2 \(scan a\): {column} is .*\. A path inside the table's"
    ):
        read_table(tmp_path / f"scans{suffix}")


def write_spreadsheet(path, row):
    book = openpyxl.Workbook()
    book.active.append(list(row))
    book.active.append(list(row.values()))
    book.save(path)


@pytest.mark.parametrize("column", ["file", "labels", "scan"])
def test_names_with_nul_bytes_are_refused(column, tmp_path):
    write_table(tmp_path, [{**row_of("a", "a.tif"), "labels": "", column: "aNULb.tif"}])
    table = tmp_path / "scans.csv"  # Python 3.10 writes no NUL bytes into a table
    table.write_bytes(table.read_bytes().replace(b"NUL", b"\0"))
    with pytest.raises(DataError, match=r"scans\.csv holds NUL bytes\. .*expected"):
        read_table(tmp_path / "scans.csv")


@pytest.mark.parametrize("column", ["voxel_z_um", "voxel_y_um", "voxel_x_um"])
def test_a_missing_voxel_size_is_refused_by_name(column, tmp_path):
    row = row_of("a", "a.tif")
    del row[column]
    write_table(tmp_path, [row])
    with pytest.raises(DataError, match=f"no column {column}.*not reliable"):
        read_table(tmp_path / "scans.csv")


def test_cuts_beyond_the_volume_are_refused_by_scan_and_axis(tmp_path):
    write_table(tmp_path, [row_of("a", "a.tif", y_min="10", y_max="999", x_min="", z_min="")])
    with pytest.raises(DataError, match="Scan a: the cut y_min=10, y_max=999 does not fit its 80 voxels along y"):
        read_table(tmp_path / "scans.csv")[0].limits((5, 80, 90))


def test_empty_missing_and_double_entries_are_refused(tmp_path):
    with pytest.raises(DataError, match="no table of scans"):
        read_table(tmp_path / "scans.csv")
    (tmp_path / "scans.csv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_table(tmp_path / "scans.csv")
    write_table(tmp_path, [row_of("a", "a.tif"), row_of("a", "b.tif")])
    with pytest.raises(DataError, match="the scan a twice"):
        read_table(tmp_path / "scans.csv")
    write_table(tmp_path, [row_of("a", "a.tif", split="train"), row_of("b", "b.tif", split="")])
    with pytest.raises(DataError, match="All or none"):
        read_table(tmp_path / "scans.csv")
    (tmp_path / "scans.csv").write_text("scan,file,voxel_z_um,voxel_y_um,voxel_x_um\na,a.tif,7,1,1,9,9\n")
    with pytest.raises(DataError, match="row 2: 7 values for 5 columns"):
        read_table(tmp_path / "scans.csv")
    (tmp_path / "scans.xlsx").write_bytes(b"no spreadsheet")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "scans.xlsx")
