"""JSON files of strangers: of bounded size, depth and number of values."""

import json

import pytest

from benchmark import json_files
from benchmark.json_files import MOST_COMMAS, read_json


def test_a_value_is_read(tmp_path):
    value = {"a": [1, 2.5, "b, c"], "counts": "x" * 1_000_000}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("item", ["[]", "{}", "1"])
def test_values_that_would_take_far_more_memory_than_the_file_are_refused_unparsed(item, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("[" + ",".join([item] * (MOST_COMMAS + 2)) + "]")
    monkeypatch.setattr(json_files, "from_json", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match=r"^it holds more than 4,000,000 values$"):
        read_json(path)


def test_a_file_that_is_too_large_or_none_is_refused_unread(tmp_path, monkeypatch):
    with (tmp_path / "a.json").open("wb") as stream:
        stream.truncate(300_000_000)  # zeros that take no room on the disk
    monkeypatch.setattr(json_files, "from_json", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match=r"^it is larger than 64 MB$"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"^it is no regular file$"):
        read_json(tmp_path)
