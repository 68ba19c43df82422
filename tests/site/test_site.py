"""The site: whole or the old one, nothing injected, and in a browser: load, sort, filter, turn, keyboard, no errors."""

import dataclasses
import json
import re
import time

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.errors import CheckpointError, ConfigError
from benchmark.plots.event_view import Prediction, Shown, as_values
from benchmark.records.store import read_records
from benchmark.site.pages import script, write_site
from benchmark.site.runs import run_data, worst_events
from benchmark.site.single_event import draw, event_of_dataset, event_of_runs, page
from builders.browser import chromium, errors, requests, wait_for
from builders.many_records import made_up, write
from builders.synthetic import execute, make_data, request

EVIL = '</script><img src=x onerror="window.injected=1">'


SCENES = (
    "return [...document.querySelectorAll('.js-plotly-plot')].filter(p => p._fullLayout && p._fullLayout.scene).length"
)


def made_site(tmp_path, records, problems=()):
    return write_site(records, tmp_path / "site", problems, runs=tmp_path / "none")


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(3)
    found = [
        made_up(m, n, d, 0, rng, quality=q + 0.02 * np.log10(n), n_events=40)
        for m, q in (("alpha", 0.8), ("beta", 0.7), ("gamma", 0.6)) for n in (10, 100, 1000) for d in range(2)
    ]  # fmt: skip
    evil = made_up("evil", 10, 0, 0, rng, n_events=40)
    evil = dataclasses.replace(evil, config={**evil.config, "model": EVIL}, command=["benchmark", EVIL])
    failed = dataclasses.replace(made_up("broken", 10, 0, 0, rng, n_events=40), status="failed", error=f"Oh: {EVIL}")
    return [*found, evil, failed]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with records and weights of real runs on tiny events."""
    root = tmp_path_factory.mktemp("trained")
    data = make_data(root)
    for model in ("pointnet", "majority", "deep_sets"):
        execute(data, root, request(model))
    return root, data


def test_a_site_holds_a_file_for_every_run_and_names_what_is_wrong(tmp_path, records):
    index = made_site(tmp_path, records, ["one file is damaged"])
    folder = index.parent
    assert len(list((folder / "data" / "runs").glob("*.js"))) == len(records)
    text = (folder / "data" / "index.js").read_text()
    assert "one file is damaged" in text and "Oh: " in text
    assert "<" not in text and "<" not in "".join(p.read_text() for p in (folder / "data" / "runs").glob("*.js"))
    for name in ("index.html", "run.html", "event.html"):
        page_text = (folder / name).read_text()
        assert not re.findall(r"(?:src|href)=\"https?://", page_text)


def test_a_site_is_replaced_whole_and_takes_no_folder_of_anybody_else(tmp_path, records):
    made_site(tmp_path, records)
    (tmp_path / "site" / "stale.txt").write_text("x")
    made_site(tmp_path, records[:2])
    assert not (tmp_path / "site" / "stale.txt").exists()
    assert len(list((tmp_path / "site" / "data" / "runs").glob("*.js"))) == 2
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("important")
    with pytest.raises(ConfigError, match="not a site of particlebench"):
        write_site(records, mine)
    assert (mine / "thesis.tex").read_text() == "important"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []  # nothing half-written is left


def test_data_cannot_end_their_script():
    text = script("PB.x", {"a": "</script><!--", "b": "\u2028"})
    assert "<" not in text and "\u2028" not in text
    assert json.loads(text.removeprefix("PB.x=").rstrip(";\n")) == {"a": "</script><!--", "b": "\u2028"}


def test_the_worst_events_are_those_with_most_wrong_points(records):
    record = records[0]
    found = worst_events(record)
    shares = [share for _, share, _ in found]
    assert shares == sorted(shares, reverse=True) and len(found) == 12
    assert all(name.startswith("event ") for name, *_ in found)
    assert json.dumps(run_data(record), allow_nan=False)


def test_events_of_real_runs_are_displayed_side_by_side(trained):
    root, data = trained
    found, _ = read_records(root / "records")
    index = write_site(found, root / "site", runs=root / "runs", data=data, n_events=2)
    events = sorted((index.parent / "data" / "events").glob("*.js"))
    assert 2 <= len(events) <= 3
    values = json.loads(events[0].read_text().partition("=")[2].rstrip(";\n"))
    assert len(values["predictions"]) == 3
    assert all(len(p["labels"]) == len(values["truth"]) == len(values["energy"]) for p in values["predictions"])


def test_the_command_names_bad_files_and_shows_the_rest(tmp_path, records, capsys):
    for record in records[:3]:
        write(tmp_path / "records", record)
    bad = write(tmp_path / "records", records[4])
    bad.write_text("{")
    main(["site", "--records", str(tmp_path / "records"), "--out", str(tmp_path / "site"), "--events", "0"])
    text = capsys.readouterr().out
    assert "page: file://" in text and str(bad) in text
    assert "damaged" in (tmp_path / "site" / "data" / "index.js").read_text()


# ---- one event


def test_an_event_is_written_as_picture_and_as_page(trained, tmp_path, capsys):
    root, data = trained
    (run,) = sorted((root / "records").rglob("pointnet-*.json"))
    for out in (tmp_path / "e.png", tmp_path / "e.html"):
        main(["display", "--run", str(run), "--runs", str(root / "runs"), "--data", str(data), "--out", str(out)])
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "e.html").read_text()
    assert "PB.single=" in text and "pointnet" in text
    assert not re.findall(r"<script[^>]+src=|<link", text)
    main(["display", "--dataset", "pilarnet-m", "--data", str(data), "--event", "2", "--out", str(tmp_path / "d.png")])
    file = sorted((data / "test").glob("*.h5"))[0]
    main(["display", "--file", str(file), "--event", "1", "--out", str(tmp_path / "f.png")])
    assert (tmp_path / "d.png").is_file() and (tmp_path / "f.png").is_file()


def test_an_event_of_a_file_is_that_of_its_dataset(trained):
    from benchmark.site.single_event import event_of_file

    _, data = trained
    file = sorted((data / "test").glob("*.h5"))[0]
    one, other = event_of_file(file, "pilarnet-m", "1"), event_of_dataset("pilarnet-m", "test", "1", data)
    np.testing.assert_array_equal(one.coords, other.coords)
    np.testing.assert_array_equal(one.truth, other.truth)


def test_wrong_requests_are_one_sentence(trained, tmp_path):
    root, data = trained
    found, _ = read_records(root / "records")
    with pytest.raises(ConfigError, match="--event 99 does not exist"):
        event_of_dataset("pilarnet-m", "test", "99", data)
    with pytest.raises(CheckpointError, match="not at"):
        event_of_runs(found[:1], "test", "0", tmp_path, data)
    for wrong in (["--out", "x.gif"], ["--file", "none.h5"], ["--run", "a.json", "--dataset", "pilarnet-m"]):
        with pytest.raises(SystemExit) as end:
            own = ["--dataset", "pilarnet-m", "--data", str(data)] if "--out" in wrong else []
            main(["display", *own, *wrong])
        assert end.value.code == 2


def test_a_huge_event_keeps_its_brightest_points():
    rng = np.random.default_rng(0)
    n = 70_000
    event = Shown("e", "t", ("a", "b"), "voxel", rng.random((n, 3)), rng.random(n), rng.integers(0, 2, n), "",
                  (Prediction("m", rng.integers(0, 2, n), ""),))  # fmt: skip
    values = as_values(event)
    assert len(values["energy"]) == 60_000 and values["leftOut"] == 10_000
    assert min(values["energy"]) >= np.sort(event.energy)[9_999] - 1e-3
    assert len(values["predictions"][0]["labels"]) == 60_000


# ---- in a browser


def rows(page):
    script = "return [...document.querySelectorAll('#table tbody tr')].map(r => r.cells[0].innerText.trim())"
    return page.execute_script(script)


def test_the_leaderboard_in_a_browser(tmp_path, records):
    index = made_site(tmp_path, records, [f"a bad file {EVIL}"])
    with chromium() as driver:
        driver.get(index.as_uri())
        wait_for(driver, "return document.querySelectorAll('#table tbody tr').length === 10")
        first = rows(driver)
        assert EVIL in first
        wait_for(driver, "return document.querySelectorAll('#measured .trace').length >= 3")
        driver.find_element("id", "find").send_keys("beta")
        assert rows(driver) == ["beta"] * 3
        driver.find_element("id", "find").clear()
        driver.find_element("id", "find").send_keys(" ")
        driver.execute_script(
            "const b = document.getElementById('budget'); b.value = '100'; b.dispatchEvent(new Event('change'))"
        )
        assert rows(driver) == ["alpha", "beta", "gamma"]
        heading = "return [...document.querySelectorAll('th button')].find(b => b.innerText.startsWith('macro_f1'))"
        driver.execute_script(f"{heading}.click()".replace("return ", "", 1))
        assert rows(driver) == ["alpha", "beta", "gamma"]  # descending first: numbers
        driver.execute_script(f"{heading}.click()".replace("return ", "", 1))
        assert rows(driver) == ["gamma", "beta", "alpha"]
        assert driver.execute_script("return document.querySelector('th[aria-sort=ascending]') !== null")
        driver.execute_script("document.getElementById('full').click()")
        assert "commit" in driver.execute_script("return document.querySelector('#table thead').innerText")
        before = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        driver.find_element("id", "theme").click()
        assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") != before
        assert driver.execute_script("return window.injected") is None
        assert errors(driver) == [] and requests(driver) == []


def test_a_leaderboard_is_used_by_keyboard(tmp_path, records):
    keys = pytest.importorskip("selenium.webdriver.common.keys", reason="selenium is not installed").Keys
    index = made_site(tmp_path, records)
    with chromium() as driver:
        driver.get(index.as_uri())
        wait_for(driver, "return document.querySelectorAll('#table tbody tr').length === 10")
        body = driver.find_element("tag name", "body")
        body.send_keys(keys.TAB)
        assert driver.switch_to.active_element.text == "Skip to the leaderboard"
        for _ in range(40):
            driver.switch_to.active_element.send_keys(keys.TAB)
            if driver.switch_to.active_element.text.startswith("labels"):
                break
        driver.switch_to.active_element.send_keys(keys.ENTER)
        head = "th[aria-sort]:not([aria-sort=none])"
        assert driver.execute_script(f"return document.querySelector('{head}').innerText").startswith("labels")
        assert driver.switch_to.active_element.text.startswith("labels")  # focus stays where it was


def test_a_runs_page_in_a_browser(trained):
    root, data = trained
    found, _ = read_records(root / "records")
    index = write_site(found, root / "site", runs=root / "runs", data=data, n_events=1)
    (name,) = (p.stem for p in (root / "site" / "data" / "runs").glob("pointnet-*.js"))
    with chromium() as driver:
        driver.get(index.with_name("run.html").as_uri() + "#" + name)
        wait_for(driver, "return document.querySelectorAll('.js-plotly-plot').length === 2")  # calibration, training
        text = driver.find_element("tag name", "body").text
        for part in ("Confusion", "Calibration: expected error", "Training", "Events with most errors", "Resources"):
            assert part in text
        driver.get(index.with_name("run.html").as_uri() + "#../../x")
        wait_for(driver, "return document.body.innerText.includes('Nothing to show')")
        assert errors(driver) == [] and requests(driver) == []


def test_an_event_turns_in_all_scenes_by_mouse_and_keyboard(trained):
    pytest.importorskip("selenium", reason="selenium is not installed")
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    root, data = trained
    found, _ = read_records(root / "records")
    index = write_site(found, root / "site", runs=root / "runs", data=data, n_events=1)
    key = sorted((root / "site" / "data" / "events").glob("*.js"))[0].stem
    eyes = "return [...document.querySelectorAll('.js-plotly-plot')].map(p => p._fullLayout.scene.camera.eye.x)"
    with chromium() as driver:
        driver.get(index.with_name("event.html").as_uri() + "#" + key)
        wait_for(driver, f"{SCENES} === 3")
        before = driver.execute_script(eyes)
        assert len(set(before)) == 1
        plot = driver.find_elements("css selector", ".scene .plot")[1]
        ActionChains(driver).move_to_element(plot).click_and_hold().move_by_offset(90, 25).release().perform()
        moved = f"e.every(x => Math.abs(x - {before[0]}) > 1e-3)"
        wait_for(driver, f"const e = (() => {{ {eyes} }})(); return {moved} && Math.max(...e) - Math.min(...e) < 1e-6")
        turned = driver.execute_script(eyes)[0]
        plot.send_keys(Keys.ARROW_LEFT)
        wait_for(driver, f"const e = (() => {{ {eyes} }})(); return e.every(x => Math.abs(x - {turned}) > 1e-3)")
        for name in ("Errors", "Energy", "Class"):
            press = f"[...document.querySelectorAll('button')].find(b => b.innerText === '{name}').click()"
            driver.execute_script(press)
            wait_for(driver, f"return document.querySelector('button[aria-pressed=true]').innerText === '{name}'")
        boxes = driver.find_elements("css selector", "input[type=checkbox]")
        boxes[2].click()
        wait_for(driver, "return document.querySelectorAll('.scene').length === 4")
        assert errors(driver) == [] and requests(driver) == []


def test_a_single_events_page_needs_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    n = 5_000
    event = Shown(EVIL, "t", ("a", "b"), "voxel", rng.random((n, 3)) * 100, rng.random(n), rng.integers(0, 2, n), EVIL,
                  (Prediction(EVIL, rng.integers(0, 2, n), EVIL),))  # fmt: skip
    path = tmp_path / "e.html"
    path.write_text(page(event), encoding="utf-8")
    draw(event, tmp_path / "e.png")
    with chromium() as driver:
        driver.get(path.as_uri())
        wait_for(driver, f"{SCENES} === 2")
        assert driver.find_element("id", "title").text == EVIL
        assert driver.execute_script("return window.injected") is None
        assert errors(driver) == [] and requests(driver) == []


@pytest.mark.slow
def test_thousands_of_rows_stay_fluent(tmp_path):
    """Each its own row, as with 10,000 records of as many settings: the page shows some and finds all."""
    rng = np.random.default_rng(0)
    states = made_up("m", 10, 0, 0, rng, n_events=3)
    records = [
        dataclasses.replace(states, fingerprint=f"{i:064x}", config={**states.config, "model": f"model_{i:05d}"})
        for i in range(1_500)
    ]
    index = made_site(tmp_path, records)
    with chromium() as driver:
        driver.get(index.as_uri())
        wait_for(driver, "return document.querySelectorAll('#table tbody tr').length === 100", timeout=60)
        started = time.monotonic()
        driver.find_element("id", "find").send_keys("model_01499")
        assert rows(driver) == ["model_01499"]
        assert time.monotonic() - started < 20  # a loaded machine; by eye it is at once
        assert errors(driver) == []
