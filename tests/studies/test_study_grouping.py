"""Studies of grouping: the counts against counting by hand, the criteria, the commands, and the numbers of the docs."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.data.preprocess import Preprocess
from benchmark.errors import BenchmarkError
from benchmark.metrics.few_events import MIN_EVENTS
from benchmark.ops.grouping import STRATEGIES, GroupingConfig, group_event, group_events
from benchmark.ops.native import NATIVE
from benchmark.plots.style import pyplot
from benchmark.studies.base import load_events, save
from benchmark.studies.grouping import COUNTS, balance, count, grid, grouping_study, on_front, published_like, shares
from benchmark.studies.pairwise import Pairwise
from benchmark.studies.runtime import runtime_study
from benchmark.studies.sizes import sizes_study
from builders.clouds import cloud
from builders.paths import ROOT
from builders.pilarnet_files import make_event, make_events, write_folder

FIGURES = ROOT / "docs" / "figures" / "tokens"


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "pilarnet"
    rng = np.random.default_rng(2)
    write_folder(folder, {"train": make_events(rng, 2), "val": make_events(rng, 2), "test": make_events(rng, 13)},
                 version="v2")  # fmt: skip
    return load_events("pilarnet-m", folder, preprocess=Preprocess(min_points=0))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_counts_equal_counting_by_hand():
    points = cloud("line", 300)
    config = GroupingConfig(radius=5.0, overlap=0.6, n_points=4, max_groups=None)
    found = dict(zip(COUNTS, count([points], config)[0], strict=True))
    groups = group_event(points, config)
    distances = np.linalg.norm(points[:, None].astype(float) - points[groups.centres][None], axis=-1)
    memberships = (distances < 5.0).sum(1)
    assert found["points"] == 300 and found["groups"] == len(groups.centres)
    assert found["missed"] == (memberships == 0).sum() > 0
    assert found["shared"] == (memberships > 1).sum() > 0
    assert found["extra"] == (memberships - 1)[memberships > 0].sum()
    slots = [set(row[mask].tolist()) for row, mask in zip(groups.indices, groups.mask, strict=True)]
    thinned = np.array([sum(i in slot for slot in slots) for i in range(300)])
    assert found["missed_thinned"] == (thinned == 0).sum() > found["missed"]
    assert found["extra_thinned"] == np.clip(thinned - 1, 0, None).sum()


def test_shares_are_of_all_points_not_means_of_events():
    counts = np.array([[10, 5, 0, 0, 5, 0, 1], [90, 0, 9, 9, 0, 9, 3]])
    assert shares(counts.sum(0))["missed"] == 0.05
    assert shares(counts.sum(0))["duplicated"] == 0.09


def test_balance_lies_on_the_line_between_two_steps():
    assert balance((0.5, 0.6, 0.7), np.array([0.0, 0.1, 0.3]), np.array([0.4, 0.2, 0.2])) == pytest.approx(0.65)
    assert np.isnan(balance((0.5, 0.6), np.array([0.0, 0.1]), np.array([0.4, 0.2])))


def test_the_front_holds_what_nothing_betters():
    missed = np.array([0.0, 0.1, 0.2, 0.2, 0.1])
    duplicated = np.array([0.9, 0.2, 0.1, 0.3, 0.2])
    assert on_front(missed, duplicated).tolist() == [True, True, True, False, True]


def test_the_grid_holds_every_strategy_and_no_setting_twice():
    settings = list(grid())
    assert len(set(settings)) == len(settings)
    assert {c.chosen_strategy for c in settings} == set(STRATEGIES) == set(published_like())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("caps", [{}, {"max_candidate_neighbours": 6, "max_ball": 12}])
def test_the_rival_of_the_timings_gives_the_same_groups(strategy, caps):
    clouds = [cloud(kind, n, seed=n) for kind in ("lattice", "line", "clump") for n in (5, 220)]
    n_seeds = None if strategy == "cnms_ball" else 60
    config = GroupingConfig(radius=3.0, n_points=8, n_seeds=n_seeds, strategy=strategy, **caps)
    for ours, theirs in zip(group_events(clouds, config), group_events(clouds, config, Pairwise()), strict=True):
        assert all(map(np.array_equal, ours, theirs))


def test_the_rival_finds_the_same_neighbours():
    points = cloud("lattice", 300)
    for k in (1, 20, 400):
        ours, theirs = (e.nearest([points[:50]], [points], k)[0] for e in (NATIVE, Pairwise()))
        assert np.array_equal(ours.indices, theirs.indices)


def test_grouping_study_writes_what_it_says(events, tmp_path):
    few = [GroupingConfig(overlap=f, max_groups=None) for f in (0.5, 0.8, 1.0)]
    few.append(GroupingConfig(strategy="fps_ball", n_seeds=64, max_groups=None))
    study = grouping_study(events, configs=few, overlaps=(0.3, 0.5, 0.7, 1.0))
    paths = save(study, tmp_path, events, ["benchmark", "study", "grouping"])
    names = ["csv", "json", "png", "sweep.csv", "typical.csv"]
    assert sorted(p.name.split("grouping")[1].lstrip("._") for p in paths) == names
    rows = table(tmp_path / "grouping.csv")
    assert len(rows) == len(few)
    assert float(rows[0]["missed"]) <= float(rows[1]["missed"]) <= float(rows[2]["missed"])
    about = json.loads((tmp_path / "grouping.json").read_text())
    found = about["findings"]["balance"]
    assert 0.3 <= found["low"] <= found["f"] <= found["high"] <= 1.0
    assert about["events"]["n_events"] == len(events) and about["events"]["revision"]
    again = grouping_study(events, configs=few, overlaps=(0.3, 0.5, 0.7, 1.0))
    assert again.rows == study.rows and again.findings == study.findings


@pytest.mark.parametrize(("n_events", "has_intervals"), [(9, False), (10, True)])
def test_few_events_give_no_interval_anywhere(events, tmp_path, n_events, has_intervals):
    few = replace(events, chosen=events.chosen.first(n_events, "study", 0))
    study = grouping_study(few, configs=[GroupingConfig(max_groups=None)], overlaps=(0.3, 0.5, 0.7, 1.0))
    for name in ("balance", "balance_thinned"):
        found = study.findings[name]
        assert found["f"] > 0 and all((found[k] is not None) is has_intervals for k in ("low", "high"))
        assert isinstance(found["published_f_inside"], bool) is has_intervals
    ends = [row[f"duplicated_{end}"] for row in study.further["sweep"][:3] for end in ("low", "high")]
    assert all((end is not None) is has_intervals for end in ends)
    assert [row["95% interval"] == "[-]" for row in study.highlights[-2:]] == [not has_intervals] * 2
    figure = study.draw(pyplot())
    axis = figure.axes[1]
    assert ("no bands" in axis.get_title()) is not has_intervals and bool(axis.patches) is has_intervals
    assert bool(sum(len(path.vertices) for band in axis.collections for path in band.get_paths())) is has_intervals
    pyplot().close(figure)


def test_a_share_that_is_the_same_in_all_resamples_has_no_interval(events):
    study = grouping_study(events, configs=[GroupingConfig(max_groups=None)], overlaps=(0.3, 0.5, 0.7, 1.0))
    first = study.further["sweep"][0]
    assert first["missed"] == 0 and first["missed_low"] is None and first["duplicated_low"] < first["duplicated_high"]


def test_a_sweep_without_balance_is_refused(events):
    with pytest.raises(BenchmarkError, match="do not balance"):
        grouping_study(events, configs=[GroupingConfig(max_groups=None)], overlaps=(0.98, 0.99, 1.0))


def test_sizes_study_counts_every_group(events, tmp_path):
    study = sizes_study(events)
    save(study, tmp_path, events, [])
    by_name = {row["quantity"]: row for row in study.rows}
    n_groups = sum(len(group_event(c, GroupingConfig(max_groups=None)).centres) for c in events.coords())
    histogram = table(tmp_path / "sizes_histogram.csv")
    assert sum(int(row["n_groups"]) for row in histogram) == by_name["points per group"]["n"] == n_groups
    assert by_name["points per group, thinned to 32"]["max"] <= 32


def test_runtime_study_times_every_strategy(events):
    study = runtime_study(events, batch_sizes=(1, 2), n_repeats=2)
    timed = {(r["strategy"], r["engine"], r["batch"]) for r in study.rows}
    assert {(s, e, b) for s in STRATEGIES for e in ("native", "pairwise torch") for b in (1, 2)} <= timed
    assert all(r["median_ms"] > 0 for r in study.rows)
    with pytest.raises(BenchmarkError, match="smallest batch"):
        runtime_study(events, batch_sizes=(64,))


def test_the_command_says_where_the_files_are(tmp_path, capsys):
    folder = tmp_path / "pilarnet"
    rng = np.random.default_rng(3)
    big_enough = {split: [make_event(rng, (40, 900, 700))] for split in ("train", "val", "test")}
    write_folder(folder, big_enough, version="v2")
    with pytest.raises(SystemExit):
        main(["study", "sizes", "--dataset", "pilarnet-n", "--data", str(folder), "--out", str(tmp_path / "no")])
    assert "pilarnet-m" in capsys.readouterr().err and not (tmp_path / "no").exists()
    main(["study", "sizes", "--dataset", "pilarnet-m", "--data", str(folder), "--out", str(tmp_path / "out")])
    assert "sizes.csv" in capsys.readouterr().out
    assert (tmp_path / "out" / "sizes.png").stat().st_size > 1000


# --- docs/tokens.md -------------------------------------------------------------------------------------------------


def test_the_page_tells_the_numbers_of_the_tables():
    page = (FIGURES.parent.parent / "tokens.md").read_text(encoding="utf-8")
    for name in ("lartpc_sim", "pilarnet_m"):
        about = json.loads((FIGURES / name / "grouping.json").read_text())
        for kind in ("balance", "balance_thinned"):
            found = about["findings"][kind]
            assert (found["low"] is not None) is (about["events"]["n_events"] >= MIN_EVENTS), name
            interval = "[-]" if found["low"] is None else f"({found['low']:.3f} to {found['high']:.3f})"
            assert f"| {found['f']:.3f} {interval} |" in page, (name, kind)
        for row in table(FIGURES / name / "grouping_typical.csv"):
            cells = f"{100 * float(row['missed']):.2f} | {100 * float(row['duplicated']):.2f}"
            assert cells in page, (name, row["strategy"])
        for row in table(FIGURES / name / "sizes.csv"):
            assert f"| {row['mean']} | {row['mode']} |" in page, (name, row["quantity"])
    runtime = json.loads((FIGURES / "lartpc_sim" / "runtime.json").read_text())
    for strategy, factor in runtime["findings"]["speed_up"].items():
        assert re.search(rf"{strategy}.*\| {re.escape(str(factor))} \|", page), strategy


def test_the_page_shows_figures_that_exist_and_are_small():
    page = (FIGURES.parent.parent / "tokens.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\((figures/tokens/[^)]+)\)", page)
    assert shown
    for name in shown:
        assert (FIGURES.parent.parent / name).stat().st_size < 150_000, name
