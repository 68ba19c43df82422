"""One style per model in every figure, another for each method of a figure; names are never read as formulas."""

import dataclasses
import itertools
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from benchmark import registry
from benchmark.contracts.colours import COLOURS
from benchmark.datasets.larsim import figures as larsim_figures
from benchmark.metrics import pions
from benchmark.plots import scene_page
from benchmark.plots.bands import MethodStates
from benchmark.plots.efficiency_curves import curve_figure, draw_curve
from benchmark.plots.method_styles import DASHES, MARKERS, MODES, method_styles, published_styles
from benchmark.plots.roc import draw_roc
from benchmark.plots.scene import Panel, draw_panels, length_text
from benchmark.plots.style import shown_name
from benchmark.reports.leaderboard import leaderboards
from benchmark.studies import recipes, volume_features
from builders.many_records import made_up
from builders.paths import ROOT

FORMULA = "cost_$5^{_and_$6"


def board(names, budgets):
    rng = np.random.default_rng(0)
    return leaderboards([made_up(m, n, d, 0, rng, n_events=40) for m in names for n in budgets for d in range(2)])[0]


def test_every_model_in_every_mode_has_its_own_style_in_one_figure():
    names = [f"{m}:{mode}" for m in registry.model_names() for mode in MODES]
    names += [f"polarmae:fft ({n} steps)" for n in range(30)] + [f"outside_{i}" for i in range(30)]
    styles = method_styles(names)
    assert len(set(styles.values())) == len(names) == len(styles)
    for style in styles.values():
        assert style.marker < len(MARKERS) and style.dash < len(DASHES)


def test_a_models_style_does_not_depend_on_the_others_of_the_figure():
    alone = {name: method_styles([name])[name] for name in registry.model_names()}
    assert alone == method_styles(registry.model_names())
    assert method_styles(["gnn"])["gnn"] == method_styles(["a", "gnn", "zz", "polarmae:fft"])["gnn"]
    assert method_styles(["polarmae:fft"])["polarmae:fft"].colour == method_styles(["polarmae"])["polarmae"].colour


def test_published_lines_differ_from_each_other():
    styles = published_styles(30)
    assert len(set(styles)) == 30 and all(style.dash > 0 for style in styles)


def test_no_two_classes_have_close_colours():
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS])
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(rgb, 2)]
    assert min(distances) > 90  # track and delta


def test_a_curve_at_one_budget_has_an_error_bar_and_stands_beside_the_others():
    figure = curve_figure(board(("gnn", "ptv3"), (100,)))
    axis = figure.axes[0]
    bars = [c for c in axis.containers if type(c).__name__ == "ErrorbarContainer"]
    places = {float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() in MARKERS}
    assert len(bars) == len(places) == 2
    assert "95%" in figure.get_suptitle()


def test_points_without_interval_are_told_in_the_title():
    made = board(("gnn",), (10, 100))
    averages = []
    for row in made.averages:
        overall = {"macro_f1": {"value": 0.5, "low": None, "high": None}}
        record = dataclasses.replace(row.record, metrics={**row.record.metrics, "overall": overall})
        averages.append(dataclasses.replace(row, record=record))
    figure = curve_figure(dataclasses.replace(made, averages=tuple(averages)))
    assert "no bands: too few events" in figure.get_suptitle()


@pytest.mark.parametrize("one_panel", [False, True])
def test_names_are_no_formulas_and_are_shortened(one_panel, tmp_path):
    draw_curve(board((FORMULA, "m" * 300), (10, 100)), tmp_path / "c.png", one_panel=one_panel)
    width = plt.imread(tmp_path / "c.png").shape[1]
    assert width < 2000


def test_a_formula_in_a_roc_is_text(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    scores = np.clip(0.3 * label + rng.random(200) * 0.7, 0, 1)
    state = pions.state(np.stack([1 - scores, scores], 1), label, np.ones(200), np.ones(200))
    tested = MethodStates(state, np.arange(200))
    draw_roc({FORMULA: tested, "m" * 300: tested}, tmp_path / "roc.png")
    assert (tmp_path / "roc.png").stat().st_size > 10_000


def test_names_in_scenes_and_on_their_pages_are_short():
    names = (FORMULA, "m" * 300)
    points = np.random.default_rng(0).random((20, 3)) * 100
    panels = [Panel(name, points, np.full((20, 3), 0.5)) for name in names]
    figure = draw_panels(plt, [panels], "voxel", legend=dict.fromkeys(names, "red"), row_labels=["e" * 300], width=2.2)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [shown_name(FORMULA), shown_name("m" * 300, 30)]
    assert len(figure.axes[0].get_ylabel()) < 40
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [shown_name(name) for name in names]
    plt.close(figure)
    page = scene_page.page("m" * 300, [scene_page.Choice(name, panels) for name in names], "voxel")
    assert page.count("m" * 300) == 2  # the page's title and heading, which is wrapped


def test_names_in_the_figures_of_studies_are_short():
    batch = SimpleNamespace(volumes=SimpleNamespace(values=np.ones((1, 4, 8, 8)), target=np.zeros((1, 4, 8, 8))))
    view = volume_features._View("c" * 300, [np.zeros((1, 2, 2, 3))], {})
    figures = [volume_features._draw(plt, [batch], [view], ["e" * 300])]
    recipe = recipes.Recipe("bce", "adamw", "plateau")
    plan = recipes.Plan(model="m" * 300)
    scores = {recipe: [{"step": 1, "macro_f1": 0.5, "accuracy": 0.5}]}
    figures.append(recipes._draw(plt, scores, {"b" * 300: {"accuracy": 0.4, "macro_f1": 0.3}}, "macro_f1", plan))
    for figure in figures:
        texts = [text.get_text() for text in figure.findobj(plt.Text)]
        assert any("..." in text for text in texts) and max(map(len, texts)) < 120
        plt.close(figure)


def test_there_is_one_table_of_class_colours():
    assert larsim_figures.COLOURS is COLOURS
    sources = [path for folder in ("benchmark", "datasets") for path in sorted((ROOT / folder).rglob("*.py"))]
    written = [path.name for path in sources if f'{COLOURS[2]}", "' in path.read_text(encoding="utf-8")]
    assert written == ["colours.py"]


def test_long_names_keep_their_ends():
    assert shown_name("short") == "short" and shown_name("a\n$b$") == r"a \$b\$"
    assert len(shown_name("a" * 150 + "b" * 150)) == 48 and shown_name("a" * 150 + "b" * 150).endswith("b")


@pytest.mark.parametrize(
    ("length", "unit", "text"),
    [
        (50, "voxel of 3 mm", "50 voxels of 3 mm"),
        (1, "voxel", "1 voxel"),
        (20, "EMB2 cell, about 43 mm", "20 EMB2 cells, about 43 mm"),
    ],
)
def test_a_scale_bar_tells_its_unit(length, unit, text):
    assert length_text(length, unit) == text
