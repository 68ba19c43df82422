from scale.tables import MARKS, PAGE, tables, updated


def test_the_tables_of_the_page_are_those_of_the_measurements():
    page = PAGE.read_text(encoding="utf-8")
    assert {m[1] for m in MARKS.findall(page)} == set(tables())
    assert updated(page) == page, "type PYTHONPATH=.:tests python -m scale.tables --write"
