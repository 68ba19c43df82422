"""What a user is told: one line, without characters that steer a terminal, by every error of the suite."""

import pickle

import pytest

from benchmark.errors import BenchmarkError, ConfigError, DataError, RecordError, UnknownNameError, one_line

NAME = "a\x00\x1b[2J\nb\u202ec"


@pytest.mark.parametrize("kind", [BenchmarkError, ConfigError, DataError, RecordError, UnknownNameError])
def test_a_name_of_a_damaged_file_is_written_out(kind):
    error = kind(f"file.csv, line 3: {NAME} stands twice.")
    assert str(error) == r"file.csv, line 3: a\x00\x1b[2J\nb\u202ec stands twice."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # from a worker


def test_other_letters_stay():
    assert str(DataError("Messreihe für π⁰ · 東京")) == "Messreihe für π⁰ · 東京"


def test_a_long_text_loses_its_middle():
    assert one_line("a" * 150 + "b" * 150) == "a" * 100 + " ... " + "b" * 100
    assert one_line(" several\n lines ") == "several lines"
