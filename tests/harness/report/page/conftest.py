"""Pages of committed and of hostile results, and a browser to open them in."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.report.claims import Claims, read_claims
from harness.report.collect import Board, collect
from harness.report.page import render_page
from tests.harness.report.made_results import write_made

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).parents[4]
RESULTS = ROOT / "leaderboards" / "results"
#: Names and texts of outsiders that would do harm if they were markup.
HOSTILE = "<img src=x onerror=alert(1)>"
QUOTED = '"><script>alert(2)<b> $x^2$ & [a](javascript:alert(3))'
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def planted() -> Board:
    """Committed results with trainings, several seeds and sources."""
    return collect(RESULTS, "cdsr-planted", 3)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """Results of methods whose names, settings and machines hold markup, one of them with an empty slice."""
    results, rng = tmp_path_factory.mktemp("hostile") / "results", np.random.default_rng(0)
    changes: dict[str, dict[str, Any]] = {
        "base": {},
        HOSTILE: {"learns_from": ["drama", "action"], "reference": "base", "settings": {"rank": QUOTED}},
        QUOTED.replace("/", ""): {"learns_from": ["drama", "action"], "reference": HOSTILE},
    }
    for method, fields in changes.items():
        for seed in (0, 1):
            above = {"full": rng.integers(0, 50, 40), "sampled-30": rng.integers(0, 30, 40)}
            write_made(results, method, seed, above, changes=fields)
    return collect(results, "made", 1)


@pytest.fixture(scope="session")
def claims() -> Claims:
    """The committed claims."""
    return read_claims(ROOT / "leaderboards" / "claims" / "weaverec.yaml")


@pytest.fixture(scope="session")
def html(planted: Board, hostile: Board, claims: Claims) -> str:
    """A page of both boards."""
    return render_page([planted, hostile], [claims])


@pytest.fixture(scope="session")
def page(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the page."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Chrome]":
    """A headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("There is no Chromium. On Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the driver's path, selenium looks for none and downloads nothing.
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()
