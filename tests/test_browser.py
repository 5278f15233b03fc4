"""A report in a real browser."""

from __future__ import annotations

import shutil

import pytest
from pages import QUOTES, SCRIPT

EXPERIMENT = f"""
from phs_mpi import Choice, Experiment, Random

TEXTS = [{SCRIPT!r}, {QUOTES!r}, "b10", "b9"]

def train(rate, layers, text):
    if rate > 0.1:
        raise ValueError(f"diverged with {{text}}")
    return rate * layers

experiment = Experiment(train, {{"rate": float, "layers": int, "text": str}}, capture=False, seed=3)
experiment.add(600, rate=Random(1e-4, 1, log=True), layers=Random(1, 12), text=Choice(TEXTS))
"""


@pytest.fixture
def browser(tmp_path):
    """Chromium without a window, with a profile of its own and no use of the network."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1200,900",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


def column(browser, head: str) -> list[str]:
    """Shown cells of a column of the table of sets."""
    return browser.execute_script(
        """const table = document.getElementById("table-of-sets");
        const heads = [...table.tHead.rows[0].cells];
        const k = heads.findIndex(head => head.innerText.startsWith(arguments[0]));
        return [...table.tBodies[0].rows].map(row => row.cells[k].innerText);""",
        head,
    )


def button(browser, head: str):
    """The button in the head of a column."""
    from selenium.webdriver.common.by import By

    (found,) = [
        b
        for b in browser.find_elements(By.CSS_SELECTOR, "#table-of-sets th button")
        if b.get_attribute("textContent") == head
    ]
    return found


@pytest.mark.browser
def test_a_report_of_a_run_is_rendered_and_sorted_by_clicks_and_keys(launch, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    launch.write("experiment.py", EXPERIMENT)
    done = launch.phs(3, "experiment.py", "--quiet")
    assert done.returncode == 0, done.stderr
    done = launch.phs(None, "report", "experiment.h5")
    assert done.returncode == 0, done.stderr
    browser.get((launch.folder / "experiment.html").as_uri())

    # Rendered: nothing of the file has become part of the page, and every picture is one.
    assert browser.title == "train: experiment.h5"
    assert browser.find_element(By.TAG_NAME, "h1").text == "train"
    images = browser.find_elements(By.TAG_NAME, "img")
    assert {i.get_attribute("alt") for i in images} >= {"evolution", "scatter", "timeline"}
    for image in images:
        assert image.is_displayed()
        assert browser.execute_script(
            "return arguments[0].complete && arguments[0].naturalWidth > 300", image
        )
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1

    # As in the file, and no more rows than a browser takes easily.
    assert column(browser, "set") == [str(i) for i in range(250)]
    where = browser.find_element(By.CSS_SELECTOR, "[role=status]")
    assert where.text == "1 to 250 of 600"

    # By number, with a click; what is missing comes last, in either order.
    button(browser, "result").click()
    rising = column(browser, "result")
    assert [float(x) for x in rising] == sorted(float(x) for x in rising)
    head = browser.find_element(By.XPATH, "//th[button='result']")
    assert head.get_attribute("aria-sort") == "ascending"
    best = browser.find_element(By.CSS_SELECTOR, "#table-of-sets tr.best")
    assert best.text.split()[0] == column(browser, "set")[0]
    button(browser, "result").click()
    falling = [float(x) for x in column(browser, "result")]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > float(rising[-1])
    assert head.get_attribute("aria-sort") == "descending"

    # By text, from the keyboard.
    button(browser, "text").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "none"
    seen = []
    following = browser.find_element(By.XPATH, "//button[.='next']")
    while True:
        seen += column(browser, "text")
        if not following.is_enabled():
            break
        following.click()
    assert len(seen) == 600
    assert set(seen) == {SCRIPT, QUOTES, "b10", "b9"}
    firsts = [text for k, text in enumerate(seen) if k == 0 or seen[k - 1] != text]
    assert len(firsts) == 4
    assert firsts.index("b9") < firsts.index("b10")

    # Only some rows.
    browser.find_element(By.CSS_SELECTOR, "input[type=search]").send_keys("diverged with b9")
    texts = column(browser, "text")
    assert set(texts) == {"b9"}
    assert where.text == f"1 to {len(texts)} of {len(texts)}"
    assert set(column(browser, "status")) == {"failed"}

    # A page that reloads itself keeps its order.
    browser.refresh()
    head = browser.find_element(By.XPATH, "//th[button='text']")
    assert head.get_attribute("aria-sort") == "ascending"

    summary = browser.find_element(By.CSS_SELECTOR, "#failures summary")
    summary.click()
    trace = browser.find_element(By.CSS_SELECTOR, "#failures details[open] pre").text
    assert 'raise ValueError(f"diverged' in trace

    assert browser.title == "train: experiment.h5"
    assert browser.get_log("browser") == []
