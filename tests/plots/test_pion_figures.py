"""Pictures of pion results are PNGs with the panels, lines, marks and numbers that belong there."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.metrics import pions, response
from benchmark.metrics.bootstrap import interval
from benchmark.plots import roc
from benchmark.plots.bands import MethodStates, bands_text
from benchmark.plots.cells import draw_cells
from benchmark.plots.response import draw_response, response_edges
from benchmark.plots.roc import EFFICIENCIES, draw_roc, roc_of

RNG = np.random.default_rng(0)
N = 600
LABEL = RNG.integers(0, 2, N)
ENERGY = 10 ** RNG.uniform(-1, 3.2, N)
ETA = RNG.uniform(0, 3, N)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are closed during a test, kept open to be looked into."""
    kept, close = [], plt.close
    monkeypatch.setattr(plt, "close", kept.append)
    yield kept
    for figure in kept:
        close(figure)


def alone(states):
    """Each sample an event of its own."""
    return MethodStates(states, np.arange(len(states)))


def classifier(skill):
    probability = 1 / (1 + np.exp(-np.random.default_rng(1).normal(skill * (2 * LABEL - 1))))
    return alone(pions.state(np.stack([1 - probability, probability], 1), LABEL, ENERGY, ETA))


def regression(width, factor=1.0):
    predicted = ENERGY * factor * np.random.default_rng(2).lognormal(0, width, N)
    return alone(response.state(predicted, ENERGY, LABEL, ETA))


def cells(layers=("EMB2", "EMB1", "TileBar0"), n=20):
    sampling = np.repeat(layers, n)
    total, rng = len(sampling), np.random.default_rng(3)
    eta, phi = rng.normal(0.3, 0.05, total), rng.normal(0, 0.05, total)
    return eta, phi, np.full(total, 0.025), np.full(total, 0.1), rng.lognormal(size=total), sampling


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def panels(figure):
    return [axis for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


# --- ROC and rejection ---


def test_roc_has_two_panels_and_tells_each_methods_rejection(tmp_path, figures):
    good, bad = classifier(1.0), classifier(0.3)
    draw_roc({"good": good, "bad": bad}, tmp_path / "roc.png")
    assert is_png(tmp_path / "roc.png") and len(panels(figures[0])) == 2
    for text, name, state in zip(legend(figures[0]), ("good", "bad"), (good, bad), strict=True):
        overall = pions.scores(state.states, np.ones((1, N)))["overall"]
        assert text.startswith(f"{name}: AUC {overall['roc_auc'][0]:.3f}, rejection {overall['rejection_90'][0]:.3g} [")
    assert panels(figures[0])[1].get_yscale() == "log"
    assert len(panels(figures[0])[1].collections) == 2  # a band each
    colours = {line.get_color() for line in panels(figures[0])[1].lines if len(line.get_xdata()) > 2}
    assert len(colours) == 2


def test_a_thinned_curve_keeps_its_numbers_and_passes_through_its_vertices(tmp_path, figures, monkeypatch):
    state = classifier(1.0)
    draw_roc({"x": state}, tmp_path / "whole.png")
    monkeypatch.setattr(roc, "MAX_VERTICES", 41)
    draw_roc({"x": state}, tmp_path / "thin.png")
    assert legend(figures[0]) == legend(figures[1])
    whole, thin = ({*map(tuple, panels(f)[0].lines[2].get_xydata())} for f in figures)
    assert len(thin) <= 43 < len(whole) and thin < whole and (1, 1) in thin


def test_a_perfect_method_has_a_limit_in_place_of_a_rejection(tmp_path, figures):
    states = pions.state(np.eye(2)[LABEL], LABEL, ENERGY, ETA)
    pairs, unknown = MethodStates(states, np.arange(N) // 2), MethodStates(states, None)
    draw_roc({"alone": alone(states), "pairs": pairs, "unknown": unknown}, tmp_path / "roc.png")
    n_background, n_events = int((LABEL == 0).sum()), len(np.unique(pairs.units[LABEL == 0]))
    assert n_events < n_background  # none of n events: at most 3/n of all, at 95% confidence
    assert legend(figures[0]) == [
        f"alone: AUC 1.000, rejection > {n_background / 3:.3g} at 90%",
        f"pairs: AUC 1.000, rejection > {n_events / 3:.3g} at 90%",
        "unknown: AUC 1.000, rejection without false positives at 90%",
    ]


def test_the_rejection_s_interval_is_that_of_the_scores():
    tested = MethodStates(classifier(1.0).states, np.arange(N) // 2)
    times = np.concatenate(list(tested.resamples("x")))
    expected = interval(pions.scores(tested.states, times)["overall"]["rejection_90"])
    found = roc_of("x", tested)
    np.testing.assert_allclose(found.ends[:, np.argmin(abs(EFFICIENCIES - 0.9))], expected, rtol=1e-12)
    assert f"[{expected[0]:.3g}, {expected[1]:.3g}]" in found.text()


@pytest.mark.parametrize("figure_of", [draw_roc, draw_response])
def test_samples_of_one_event_do_not_narrow_a_band(figure_of, tmp_path, figures):
    single = (classifier(1.0) if figure_of is draw_roc else regression(0.2)).states
    equal = np.repeat(single, 4, axis=0)
    for number, units in enumerate((np.repeat(np.arange(N), 4), np.arange(4 * N))):
        figure_of({"x": MethodStates(equal, units)}, tmp_path / f"{number}.png")
    of_events, of_samples = map(band_width, figures)
    assert np.median(of_events) == pytest.approx(2 * np.median(of_samples), rel=0.2)  # sqrt(4)


def band_width(figure):
    """Of the last panel's only band, in logarithms, at each place on the axis."""
    x, y = np.concatenate([path.vertices for path in panels(figure)[-1].collections[0].get_paths()]).T
    return np.array([np.ptp(np.log(np.clip(y[x == place], 0.01, 100))) for place in np.unique(x)])


@pytest.mark.parametrize("units", [np.arange(N) // 100, None])  # six events
@pytest.mark.parametrize("figure_of", [draw_roc, draw_response])
def test_few_or_unknown_events_have_no_band(figure_of, units, tmp_path, figures):
    tested = MethodStates(
        (classifier(1.0) if figure_of is draw_roc else regression(0.2)).states, units
    )  # of six events
    figure_of({"x": tested}, tmp_path / "x.png")
    assert figures[0].get_suptitle().startswith("no bands: too few events")
    assert not any(len(path.vertices) for axis in panels(figures[0]) for band in axis.collections
                   for path in band.get_paths())  # fmt: skip
    assert figure_of is draw_response or legend(figures[0])[0].endswith("[-] at 90%")


def test_a_constant_score_has_no_interval(tmp_path, figures):
    constant = alone(pions.state(np.full((N, 2), 0.5), LABEL, ENERGY, ETA))
    draw_roc({"good": classifier(1.0), "majority": constant}, tmp_path / "roc.png")
    assert legend(figures[0])[1] == "majority: AUC 0.500, rejection 1 [-] at 90%"
    assert figures[0].get_suptitle() == "bands: 95% over events; 1 of 2 lines have none"


def test_a_title_tells_what_has_no_band():
    assert bands_text([True, True], "lines") == "bands: 95% over events"
    assert bands_text([True, False], "points", "events and runs").endswith(
        "over events and runs; 1 of 2 points have none"
    )
    assert bands_text([], "lines").startswith("no bands")


def test_a_sample_of_one_class_has_no_roc(tmp_path):
    state = classifier(1.0).states
    with pytest.raises(BenchmarkError, match="alone has 0 charged pions"):
        draw_roc({"alone": alone(state[state[:, 1] == 0])}, tmp_path / "roc.png")
    assert not (tmp_path / "roc.png").exists()


@pytest.mark.parametrize("draw", [draw_roc, draw_response])
def test_nothing_to_draw_is_told(draw, tmp_path):
    with pytest.raises(BenchmarkError, match="At least one method was expected"):
        draw({}, tmp_path / "x.png")


def test_without_matplotlib_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchmarkError, match="pip install matplotlib"):
        draw_roc({"x": classifier(1.0)}, tmp_path / "roc.png")


# --- response ---


@pytest.mark.parametrize(("by_class", "n_panels"), [(True, 4), (False, 2)])
def test_response_has_two_rows_and_a_column_per_class(by_class, n_panels, tmp_path, figures):
    draw_response({"a": regression(0.1), "b": regression(0.3)}, tmp_path / "response.png", by_class)
    assert is_png(tmp_path / "response.png") and len(panels(figures[0])) == n_panels
    assert legend(figures[0]) == ["a", "b"] and "bands: 95%" in figures[0].get_suptitle()
    median, width = panels(figures[0])[0], panels(figures[0])[-1]
    np.testing.assert_array_equal(median.lines[0].get_ydata(), 1)  # the reference
    assert len(width.lines) == len(width.collections) == 2
    assert all(a > b for a, b in zip(width.lines[1].get_ydata(), width.lines[0].get_ydata(), strict=True))


def test_values_drawn_are_the_scores_of_the_bins(tmp_path, figures):
    state = regression(0.2).states
    draw_response({"a": alone(state)}, tmp_path / "response.png", by_class=False)
    edges = response_edges(state[:, 1])
    n, _ = np.histogram(state[:, 1], edges)
    expected = []
    for number in np.flatnonzero(n >= 20):
        own = state[(state[:, 1] >= edges[number]) & (state[:, 1] < edges[number + 1])].astype(float)
        expected.append(np.median(own[:, 0] / own[:, 1]))
    np.testing.assert_allclose(panels(figures[0])[0].lines[1].get_ydata(), expected, rtol=1e-6)


def test_medians_beyond_the_window_are_told_in_figures(tmp_path, figures):
    draw_response({"far": regression(0.01, factor=3.0), "near": regression(0.01)}, tmp_path / "x.png", by_class=False)
    upper = panels(figures[0])[0]
    assert upper.get_ylim()[1] < 1.8
    assert {text.get_text() for text in upper.texts} == {"3"}


@pytest.mark.parametrize("n", [3, 15])
def test_values_beyond_the_window_cover_neither_each_other_nor_the_axis(n, tmp_path, figures):
    states = {f"far {i}": regression(0.01, factor=3.0 + 0.1 * i) for i in range(n)}
    draw_response({**states, "near": regression(0.01)}, tmp_path / "x.png", by_class=False)
    upper = panels(figures[0])[0]
    figures[0].canvas.draw()
    frame, texts = upper.get_window_extent(), [text.get_window_extent() for text in upper.texts]
    assert len(texts) == (n if n < 5 else 1)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in texts)
    assert not any(a.overlaps(b) for i, a in enumerate(texts) for b in texts[:i])


@pytest.mark.parametrize(("n", "width"), [(100_000, 0.1), (600, 0.2), (120, 1.0)])
def test_bins_are_as_fine_as_the_sample_allows(n, width):
    edges = response_edges(10 ** np.random.default_rng(1).uniform(-1, 4, n))
    np.testing.assert_allclose(np.diff(np.log10(edges)), width)
    np.testing.assert_allclose(edges[[0, -1]], [0.1, 10000])


def test_too_few_events_for_any_bin_are_told(tmp_path):
    with pytest.raises(BenchmarkError, match="No bin of energy holds 20 events"):
        draw_response({"few": alone(regression(0.1).states[:10])}, tmp_path / "x.png")


# --- cells ---


def test_cells_have_a_panel_per_layer_from_the_inside_out(tmp_path, figures):
    draw_cells(*cells(), tmp_path / "cells.png", title="an event")
    shown = panels(figures[0])
    assert is_png(tmp_path / "cells.png")
    assert [axis.get_title().split()[0] for axis in shown] == ["EMB1", "EMB2", "TileBar0"]
    assert all(len(axis.patches) == 20 for axis in shown)
    assert len({axis.get_xlim() + axis.get_ylim() for axis in shown}) == 1
    assert figures[0].get_suptitle() == "an event"


@pytest.mark.parametrize(("n_layers", "n_frames"), [(1, 1), (4, 4), (6, 8)])
def test_panels_without_a_layer_are_hidden(n_layers, n_frames, tmp_path, figures):
    draw_cells(*cells([f"layer {i}" for i in range(n_layers)], n=3), tmp_path / "cells.png")
    assert len(panels(figures[0])) == n_layers
    assert len([a for a in figures[0].axes if a.get_label() != "<colorbar>"]) == n_frames


def test_fractions_colour_cells_by_their_largest_share(tmp_path, figures):
    arrays = cells(["EMB2"], n=4)
    arrays[4][:] = [1.0, 1.0, 0.01, -1.0]
    fractions = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.9, 0, 0.1], [1, 0, 0]])
    draw_cells(*arrays, tmp_path / "cells.png", fractions=fractions,
               tracks={"EMB2": np.array([[0.3, 0.0]])}, other_tracks={"EMB1": np.zeros((1, 2))})  # fmt: skip
    colours = [patch.get_facecolor() for patch in panels(figures[0])[0].patches]
    np.testing.assert_allclose(colours[0][:3], plt.matplotlib.colors.to_rgb("#d1495b"))
    np.testing.assert_allclose(colours[1][:3], plt.matplotlib.colors.to_rgb("#30638e"))
    assert min(colours[2][:3]) > min(colours[0][:3])  # paler
    assert colours[3][3] == 0  # no energy, no colour
    assert legend(figures[0])[:4] == [*(f"largest share: {c}" for c in ("focus", "other", "neutral")), "focus track"]
    assert len(panels(figures[0])[0].collections) == 2  # the cross and its white border


def test_cells_across_the_seam_of_the_azimuth_stay_together(tmp_path, figures):
    arrays = cells(["EMB2"], n=30)
    turned = (arrays[1] + np.pi + np.pi) % (2 * np.pi) - np.pi
    draw_cells(arrays[0], turned, *arrays[2:], tmp_path / "cells.png",
               tracks={"EMB2": np.array([[0.3, -np.pi]])})  # fmt: skip
    low, high = panels(figures[0])[0].get_ylim()
    assert high - low < 0.6
    crossing = panels(figures[0])[0].collections[0].get_offsets()[0, 1]
    assert low < crossing < high


@pytest.mark.parametrize("change", [{1: np.zeros(3)}, {5: ["EMB1"]}])
def test_cells_of_different_lengths_are_refused(change, tmp_path):
    arrays = list(cells())
    for place, value in change.items():
        arrays[place] = value
    with pytest.raises(BenchmarkError, match="One value per cell was expected"):
        draw_cells(*arrays, tmp_path / "cells.png")
    with pytest.raises(BenchmarkError, match=r"fractions \(3, 3\)"):
        draw_cells(*cells(), tmp_path / "cells.png", fractions=np.zeros((3, 3)))
