"""Energy: counted where the machine tells it, over the counter's end, and absent where it does not."""

import pytest

from benchmark.hardware import energy


@pytest.fixture
def rapl(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "RAPL", tmp_path)

    def package(number, used, most=1_000_000_000):
        folder = tmp_path / f"intel-rapl:{number}"
        folder.mkdir(exist_ok=True)
        (folder / "energy_uj").write_text(str(used))
        (folder / "max_energy_range_uj").write_text(str(most))

    return package


def test_packages_add_up_and_their_parts_do_not_count_twice(rapl):
    rapl(0, 10_000_000)
    rapl(1, 0)
    rapl("0:0", 0)
    meter = energy.EnergyMeter()
    rapl(0, 40_000_000)
    rapl(1, 5_000_000)
    rapl("0:0", 99_000_000)
    assert meter.joules() == 35.0


def test_a_counter_that_starts_again_loses_nothing(rapl):
    rapl(0, 990_000_000)
    meter = energy.EnergyMeter()
    rapl(0, 20_000_000)
    assert meter.joules() == 30.0


def test_where_nothing_can_be_read_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    assert energy.EnergyMeter().joules() is None
