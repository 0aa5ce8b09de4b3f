"""The page in a real browser: what it shows, how it is used, and that it asks for nothing."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.report.page.conftest import HOSTILE, QUOTED

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

OVERVIEW = "suite-cdsr-planted-v3-overview"
Open = Callable[..., "Chrome"]


@pytest.fixture
def open_page(chromium: "Chrome", page: str) -> Open:
    """Opens the page anew."""

    def opened(width: int = 1280, scheme: str = "light", fragment: str = "") -> "Chrome":
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        chromium.get("about:blank")
        chromium.get_log("browser")
        chromium.get_log("performance")
        chromium.get(page + fragment)
        return chromium

    return opened


def texts(browser: "Chrome", table: str, column: int, selector: str = "tr:not([hidden])") -> list[str]:
    """The cells of a column, from the top."""
    script = (
        "const [table, column, rows] = arguments;"
        "return [...document.querySelectorAll(`#${table} tbody ${rows}`)].map(row => row.cells[column].textContent)"
    )
    found: list[str] = browser.execute_script(script, table, column, selector)
    return found


def click_heading(browser: "Chrome", table: str, column: int) -> str | None:
    heading = browser.find_elements("css selector", f"#{table} thead th")[column]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", heading)
    heading.find_element("tag name", "button").click()
    order: str | None = heading.get_attribute("aria-sort")
    return order


def test_it_asks_for_nothing_and_reports_no_errors(open_page: Open, page: str) -> None:
    browser = open_page()
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {page}
    blocked = browser.execute_async_script(
        "const done = arguments[0]; fetch('https://example.org/').then(() => done('sent'), () => done('blocked'))"
    )
    assert blocked == "blocked"
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


def test_names_with_markup_are_shown_as_text(open_page: Open) -> None:
    browser = open_page()
    assert browser.find_elements("css selector", "img, main script:not([type='application/json'])") == []
    assert {HOSTILE, QUOTED.replace("/", "")} <= {
        name.removesuffix(" ‡") for name in texts(browser, "suite-made-v1-overview", 0)
    }
    drawn = browser.execute_script("return [...document.querySelectorAll('svg text')].map(each => each.textContent)")
    assert HOSTILE[:25] + "…" in drawn
    assert (
        browser.execute_script("return [...document.links].filter(a => !a.getAttribute('href').startsWith('#')).length")
        == 0
    )


def test_headings_sort_numbers_and_names(open_page: Open) -> None:
    browser = open_page()
    assert click_heading(browser, OVERVIEW, 1) == "descending"
    figures = [float(text) for text in texts(browser, OVERVIEW, 1)]
    assert figures == sorted(figures, reverse=True)
    assert click_heading(browser, OVERVIEW, 1) == "ascending"
    assert [float(text) for text in texts(browser, OVERVIEW, 1)] == sorted(figures)
    assert click_heading(browser, OVERVIEW, 0) == "ascending"
    names = texts(browser, OVERVIEW, 0)
    assert names == sorted(names)
    assert len(browser.find_elements("css selector", f"#{OVERVIEW} [aria-sort]")) == 1
    assert "Sorted by method" in browser.find_element("id", "announce").get_attribute("textContent")


def test_tables_of_boards_sort_too(open_page: Open) -> None:
    browser = open_page()
    table = browser.find_element("css selector", "section[id^='suite-cdsr-planted'] table.data:not([id])")
    headings = table.find_elements("css selector", "thead th")
    column = [heading.text.split()[0] for heading in headings].index("steps")
    headings[column].find_element("tag name", "button").click()
    script = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[arguments[1]].textContent.replace(',', ''))"
    steps = [int(text) for text in browser.execute_script(script, table, column)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) > 3


def test_headings_sort_by_keyboard(open_page: Open) -> None:
    from selenium.webdriver.common.keys import Keys

    browser = open_page()
    browser.find_element("css selector", "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("class") == "skip"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    reached = []
    for _ in range(80):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element)
        if browser.execute_script("return document.activeElement.matches(`#${arguments[0]} th button`)", OVERVIEW):
            break
    active = browser.switch_to.active_element
    outline = browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", active)
    assert outline != "none"
    active.send_keys(Keys.ENTER)
    assert texts(browser, OVERVIEW, 0) == sorted(texts(browser, OVERVIEW, 0))
    assert len(reached) > 5


def test_rows_are_filtered_by_words(open_page: Open) -> None:
    browser = open_page()
    every = texts(browser, OVERVIEW, 0)
    search = browser.find_element("css selector", f"input[data-filter='{OVERVIEW}']")
    search.send_keys("WEAVE rec")
    expected = [name for name in every if "weave" in name]
    assert texts(browser, OVERVIEW, 0) == expected
    assert 0 < len(expected) < len(every)
    count = browser.find_element("css selector", f"output[data-count='{OVERVIEW}']").text
    assert count == f"{len(expected)} of {len(every)} rows"
    search.clear()
    assert texts(browser, OVERVIEW, 0) == every


def test_the_overview_shows_other_candidates_users_and_metrics(open_page: Open, planted: Any) -> None:
    from selenium.webdriver.support.ui import Select

    browser = open_page()
    before = [texts(browser, OVERVIEW, column) for column in range(6)]
    explorer = browser.find_element("css selector", f".explorer[data-table='{OVERVIEW}']")
    candidates, users, metric = [Select(each) for each in explorer.find_elements("tag name", "select")]
    candidates.select_by_visible_text("sampled-30")
    users.select_by_visible_text("tail items")
    metric.select_by_visible_text("HR@5")
    for column, entries in enumerate(planted.scenarios.values(), start=1):
        means = {entry.method: entry.mean("sampled-30", "hr@5", "tail_items") for entry in entries}
        shown = dict(zip(texts(browser, OVERVIEW, 0), texts(browser, OVERVIEW, column), strict=True))
        assert {name.removesuffix(" ‡"): text for name, text in shown.items()} == {
            name: f"{mean:.4f}" for name, mean in means.items()
        }
    assert "HR@5" in browser.find_element("css selector", f"#{OVERVIEW} caption").text
    for select in (candidates, users, metric):
        select.select_by_index(0)
    assert [texts(browser, OVERVIEW, column) for column in range(6)] == before


def test_a_figure_leads_to_its_card(open_page: Open) -> None:
    browser = open_page()
    link = browser.find_elements("css selector", f"#{OVERVIEW} tbody td a")[-1]
    target = link.get_attribute("hash").removeprefix("#")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", link)
    link.click()
    card = browser.find_element("id", target)
    assert card.get_attribute("open")
    assert card.is_displayed()
    assert 0 <= card.rect["y"] - browser.execute_script("return scrollY") < 900
    direct = open_page(fragment=f"#{target}")
    assert direct.find_element("id", target).is_displayed()


def test_the_theme_follows_the_system_until_it_is_chosen(open_page: Open) -> None:
    def paper(browser: "Chrome") -> str:
        colour: str = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return colour

    light, dark = paper(open_page(scheme="light")), paper(open_page(scheme="dark"))
    assert light != dark
    browser = open_page(scheme="light")
    button = browser.find_element("id", "theme")
    shown = []
    for _ in range(3):
        button.click()
        shown.append((button.text, paper(browser)))
    assert shown == [("Theme: light", light), ("Theme: dark", dark), ("Theme: as the system", light)]


@pytest.mark.parametrize("width", [390, 1280])
def test_only_tables_and_plots_scroll_sideways(open_page: Open, width: int) -> None:
    browser = open_page(width)
    browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    script = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    whole, visible = browser.execute_script(script)
    assert whole <= visible
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.box')].map(b => b.getBoundingClientRect().right)"
    )
    assert max(boxes) <= width
    unreachable = browser.execute_script(
        "return [...document.querySelectorAll('.box')].filter(box => box.tabIndex || box.role !== 'region').length"
    )
    assert unreachable == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(open_page: Open, scheme: str) -> None:
    pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    browser = open_page(scheme=scheme)
    browser.execute_script("document.querySelectorAll('.card')[0].open = true")
    browser.execute_script((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    violations = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then(found => done(found.violations.map("
        "v => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 200), v.nodes[0].failureSummary])))"
    )
    assert violations == []
