"""Pages in a browser at the width of a phone and of a desk, light and dark: nothing is cut off or lies over another."""

import dataclasses

import numpy as np
import pytest

from benchmark.plots import scene, scene_page
from benchmark.plots.event_view import Prediction, Shown
from benchmark.site.pages import write_site
from benchmark.site.single_event import page
from builders.browser import chromium, errors, resize, wait_for
from builders.many_records import made_up

WIDTHS = (390, 1400)
LONG, FORMULA = "m" * 300, "cost_$5_and_$6<b>|"
DRAWN = "return document.querySelectorAll('#measured .trace').length >= 3"
OVERFLOW = "return document.documentElement.scrollWidth - window.innerWidth"


def renamed(record, **config):
    return dataclasses.replace(record, config={**record.config, **config})


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A site with published curves beside 15 models', and another task of two models."""
    rng = np.random.default_rng(0)
    names = [*(f"model_{i:02d}" for i in range(13)), LONG, FORMULA]
    records = [renamed(made_up("m", n, 0, 0, rng, n_events=20), model=m) for m in names for n in (10, 100)]
    other = [renamed(made_up("m", n, 0, 0, rng, n_events=20), model=m) for m in ("gnn", "ptv3") for n in (10, 100)]
    task = {**other[0].task, "name": "a-task-without-published-scores"}
    records += [dataclasses.replace(r, task=task) for r in other]
    folder = tmp_path_factory.mktemp("sizes")
    return write_site(records, folder / "site", runs=folder / "none", n_events=0)


def boxes(driver, selector):
    """(left, top, right, bottom) of each element that is shown."""
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect())"
        ".filter(b => b.width > 0 && b.height > 0).map(b => [b.left, b.top, b.right, b.bottom])", selector,
    )  # fmt: skip


def overlap(one, other):
    return min(one[2], other[2]) - max(one[0], other[0]) > 1 and min(one[3], other[3]) - max(one[1], other[1]) > 1


def choose_board(driver, number):
    driver.execute_script(
        "const b = document.getElementById('board'); b.value = arguments[0]; b.dispatchEvent(new Event('change'))",
        str(number),
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_leaderboard_fits_the_window(index, width):
    with chromium() as driver:
        resize(driver, width)
        driver.get(index.as_uri() + "#lartpc-segmentation")
        wait_for(driver, DRAWN)
        assert driver.execute_script(OVERFLOW) <= 0
        short = [row for row in boxes(driver, "#table tbody tr") if row[3] - row[1] < 40]
        assert len(short) > 20  # names of usual length stand on one line
        for plot in boxes(driver, "#measured, #published"):
            assert plot[0] >= 0 and plot[2] <= width
        (legend,), (bar,) = boxes(driver, "#measured .legend"), boxes(driver, "#measured .modebar")
        assert not overlap(legend, bar)
        labels = boxes(driver, "#measured .legendtext")
        assert len(labels) == 15 and not any(overlap(label, bar) for label in labels)
        (plot,) = boxes(driver, "#measured .nsewdrag")
        assert not any(overlap(label, plot) for label in labels)
        texts = driver.execute_script("return [...document.querySelectorAll('.legendtext')].map(e => e.textContent)")
        assert FORMULA in texts and LONG not in texts and any(text.startswith("mmm") for text in texts)
        assert errors(driver) == []


def test_plots_stay_beside_each_other_when_the_window_and_the_board_change(index):
    with chromium() as driver:
        resize(driver, 1400)
        driver.get(index.as_uri() + "#a-task-without-published-scores")
        wait_for(driver, "return document.querySelectorAll('#measured .trace').length === 2")
        for width in (800, 390, 1400):
            resize(driver, width)
            for board, n_curves in ((1, 15), (0, 2), (1, 15)):
                choose_board(driver, board)
                wait_for(driver, f"return document.querySelectorAll('#measured .trace').length === {n_curves}")
                parts = boxes(driver, "#measured .main-svg:first-of-type, #published .main-svg:first-of-type")
                assert len(parts) == (2 if board else 1)
                assert len(parts) == 1 or not overlap(*parts)
                assert all(right <= width for _, _, right, _ in parts)


def test_every_curve_has_a_style_of_its_own(index):
    with chromium() as driver:
        driver.get(index.as_uri() + "#lartpc-segmentation")
        wait_for(driver, DRAWN)
        style = "[t.line.color, t.line.dash, t.marker.symbol].join()"
        styles = driver.execute_script(f"return document.getElementById('measured').data.map(t => {style})")
        assert len(styles) == len(set(styles)) == 15


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_of_runs_and_events_fit_the_window(index, width, tmp_path):
    rng = np.random.default_rng(0)
    event = Shown(LONG, "t", ("a", "b"), "voxel of 3 mm", rng.random((99, 3)), rng.random(99), rng.integers(0, 2, 99),
                  energy_unit="MeV", predictions=(Prediction(LONG, rng.integers(0, 2, 99), "x"),))  # fmt: skip
    single = tmp_path / "event.html"
    single.write_text(page(event), encoding="utf-8")
    run = next((index.parent / "data" / "runs").glob("mmm*.js")).stem
    with chromium() as driver:
        resize(driver, width)
        for address in (f"{index.with_name('run.html').as_uri()}#{run}", single.as_uri()):
            driver.get(address)
            wait_for(driver, "return document.getElementById('title').innerText.startsWith('mmm')")
            assert driver.execute_script(OVERFLOW) <= 0
        scenes = "return document.querySelector('.js-plotly-plot')._fullLayout.scene"
        assert driver.execute_script(f"{scenes}.xaxis.title.text") == "x (voxel)"
        assert "voxel of 3 mm" in driver.find_element("id", "about").text
        press = "[...document.querySelectorAll('button')].find(b => b.innerText === 'Energy').click()"
        driver.execute_script(press)
        assert "MeV" in driver.find_element("class name", "notes").text
        assert errors(driver) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
def test_a_studys_page_takes_the_systems_colours_and_the_windows_width(width, dark, tmp_path):
    points = np.random.default_rng(0).random((50, 3)) * 100
    panels = [scene.Panel(FORMULA, points, np.full((50, 3), 0.5), ["text"] * 50) for _ in range(2)]
    path = tmp_path / "study.html"
    text = scene_page.page(LONG, [scene_page.Choice("a", panels), scene_page.Choice("b", panels)], "voxel", FORMULA)
    path.write_text(text, encoding="utf-8")
    colour = "return getComputedStyle(document.body)"
    with chromium() as driver:
        resize(driver, width, dark=dark)
        driver.get(path.as_uri())
        layout = "document.querySelector('.js-plotly-plot')._fullLayout"
        wait_for(driver, f"return !!({layout} && {layout}.scene2)")
        ink, paper = (driver.execute_script(f"{colour}.{name}") for name in ("color", "backgroundColor"))
        bright = [sum(map(int, text.strip("rgb()").split(","))) for text in (ink, paper)]
        assert (bright[0] > bright[1]) == dark
        wait_for(driver, f"return {layout}.font.color === '{'#e8ebef' if dark else '#333333'}'")
        assert driver.execute_script(OVERFLOW) <= 0
        one, other = (driver.execute_script(f"return {layout}.{name}.domain") for name in ("scene", "scene2"))
        if width < 700:
            assert one["x"] == other["x"] == [0, 1] and one["y"][0] >= other["y"][1]
        else:
            assert one["x"][1] <= other["x"][0]
        assert errors(driver) == []
