"""The page without a browser: its figures, its links, that it loads nothing, and its size."""

import re
import time
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.report.collect import Board, Entry, collect
from harness.report.page import render, render_page
from harness.report.page.markup import Ids, block, inline, slug
from harness.report.page.plots import Point, level, level_starts, pareto_front
from tests.harness.report.page.conftest import HOSTILE, QUOTED, RESULTS

#: Elements without an end tag.
VOID = {"meta", "link", "input", "br", "hr"}


class Document(HTMLParser):
    """Ids, links, tables and nesting of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.handlers: list[str] = []
        self.tags: Counter[str] = Counter()
        self.tables: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] | None = None
        self._cell: list[str] | None = None
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags[tag] += 1
        if tag not in VOID:
            self._open.append(tag)
        if values.get("id"):
            self.ids.append(values["id"] or "")
        if tag == "a":
            self.links.append(values["href"] or "")
        self.loaded += [value or "" for name, value in attrs if name in ("src", "srcset", "data", "action")]
        self.loaded += [values["href"] or ""] if tag in ("link", "use", "image") else []
        self.handlers += [name for name in values if name.startswith("on")]
        if tag == "table":
            self._rows = self.tables[values.get("id") or f"table {len(self.tables)}"] = []
        if tag == "tr" and self._rows is not None:
            self._rows.append([])
        if tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in ("td", "th") and self._cell is not None and self._rows:
            self._rows[-1].append("".join(self._cell))
            self._cell = None

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._cell is not None:
            self._cell.append(data)


@pytest.fixture(scope="session")
def document(html: str) -> Document:
    return Document(html)


def test_figures_are_those_of_the_ranks(document: Document, planted: Board) -> None:
    """By definition: the mean of a metric over the equally likely ranks of tied items, and over users and seeds."""
    discounts = np.array([1 / np.log2(rank + 1) if rank <= 10 else 0.0 for rank in range(1, 2000)])
    overview = document.tables["suite-cdsr-planted-v3-overview"]
    checked = 0
    for scenario, entries in planted.scenarios.items():
        table = document.tables[f"scenario-cdsr-planted-v3-{slug(scenario)}-methods"]
        rows = {row[0].split()[0]: dict(zip(table[0], row, strict=True)) for row in table[1:]}
        for entry in entries:
            ndcg, hr, sampled = [], [], []
            for path in entry.paths:
                ranks = pq.read_table(path.with_suffix(".parquet")).to_pydict()
                assert "full/chance" not in ranks
                for above, tied in zip(ranks["full/above"], ranks["full/tied"], strict=True):
                    ndcg.append(discounts[above : above + tied + 1].mean() if above >= 0 else 0.0)
                    hr.append((discounts[above : above + tied + 1] > 0).mean() if above >= 0 else 0.0)
                for above, tied in zip(ranks["sampled-30/above"], ranks["sampled-30/tied"], strict=True):
                    sampled.append(discounts[above : above + tied + 1].mean() if above >= 0 else 0.0)
            shown = rows[entry.method]
            assert float(shown["NDCG@10"].split()[0]) == pytest.approx(np.mean(ndcg), abs=5.1e-5)
            assert float(shown["HR@10"]) == pytest.approx(np.mean(hr), abs=5.1e-5)
            assert float(shown["NDCG@10, sampled-30"]) == pytest.approx(np.mean(sampled), abs=5.1e-5)
            (row,) = [row for row in overview if row[0].split()[0] == entry.method]
            assert row[overview[0].index(scenario)] == shown["NDCG@10"].split()[0]
            checked += 1
    assert checked == len(planted.entries) == 40


def test_gains_are_differences_of_the_rows_figures(document: Document, planted: Board) -> None:
    for scenario in planted.scenarios:
        name = f"scenario-cdsr-planted-v3-{slug(scenario)}"
        means = {row[0].split()[0]: float(row[1].split()[0]) for row in document.tables[f"{name}-methods"][1:]}
        gains = document.tables[f"{name}-gains-table"][1:]
        assert len(gains) > 3
        for method, reference, gain, *_ in gains:
            assert float(gain.split()[0]) == pytest.approx(means[method] - means[reference], abs=1.6e-4)


def test_every_row_has_a_card_that_says_how_it_was_made(html: str, document: Document, planted: Board) -> None:
    cards = dict(re.findall(r'<details class="card" id="([^"]+)">(.*?)</details>', html, re.DOTALL))
    linked = Counter(link.removeprefix("#") for link in document.links)
    for scenario, entries in planted.scenarios.items():
        for entry in entries:
            card_id = f"card-cdsr-planted-v3-{slug(scenario)}-{entry.method}"
            assert linked[card_id] >= 2
            for result in entry.results:
                assert result.ranks_sha256[:12] in cards[card_id]
                assert f"code {result.code.source[:12]}" in html
                assert result.data[result.scenario.target].fingerprint[:12] in html
    weaverec = cards["card-cdsr-planted-v3-target-from-harmful-weaverec"]
    for text in ("Settings", "rank", "stopped by", "CPU-seconds", "Be careful", "weaverec-seed*.json"):
        assert text in weaverec


def test_links_resolve_and_ids_are_distinct(document: Document) -> None:
    assert [name for name, count in Counter(document.ids).items() if count > 1] == []
    assert {link.removeprefix("#") for link in document.links} - {*document.ids} == set()
    assert all(link.startswith("#") for link in document.links)


def test_the_page_loads_nothing(html: str, document: Document) -> None:
    assert {address for address in document.loaded if not address.startswith("#")} == {"data:,"}
    assert document.handlers == []
    assert document.tags["script"] == 1 + 2  # and the figures of two overviews, which are no code
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL)) + "".join(
        re.findall(r'style="([^"]*)"', html)
    )
    assert not re.search(r"@import|@font-face|url\((?!#)", styles)
    policy = html.partition('Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe" not in policy.replace("style-src &#39;unsafe-inline&#39;", "")


def test_names_and_texts_of_outsiders_are_escaped(html: str, document: Document) -> None:
    assert "<img" not in html
    assert "<script>alert" not in html
    texts = "".join(document.text)
    assert HOSTILE in texts
    assert QUOTED in texts  # in the settings
    assert document.tags["img"] == 0


def test_tables_are_tables_and_plots_have_names(html: str, document: Document) -> None:
    assert document.tags["table"] == document.tags["caption"] == document.tags["thead"]
    assert len(re.findall(r"<th(?![a-z])(?! scope=)", html)) == 0
    assert html.count("<svg") == html.count("</title><desc") > 5
    assert html.count("<figure ") == html.count("<summary>Data of this plot as a table</summary>")


def test_claims_are_on_the_page_and_lead_to_their_suites(hostile: Board, claims) -> None:
    of_committed = claims.model_copy(update={"suites": ("made/v1",), "title": "Claims of <i>others</i>"})
    html = render_page([hostile], [of_committed])
    assert '<h2 id="claims-claims-of-i-others-i-title">Claims of &lt;i&gt;others&lt;/i&gt;</h2>' in html
    assert claims.claims[0].claim in html
    assert Document(html).links


def test_a_page_of_500_rows_stays_small() -> None:
    """Rows as large as committed ones: 25 methods on 20 scenarios, with two seeds."""
    board = collect(RESULTS, "cdsr", 2)
    scenarios = list(board.scenarios.values())
    many = {}
    for number in range(20):
        entries = scenarios[number % len(scenarios)]
        name = f"{entries[0].results[0].scenario.name}-{number}"
        rows = [_renamed(entries[k % len(entries)], name, k // len(entries)) for k in range(25)]
        many[name] = tuple(sorted(rows, key=lambda entry: entry.method))
    start = time.process_time()
    html = render_page([Board("many", 1, many)])
    assert time.process_time() - start < 60  # seconds of CPU; it takes about 13
    assert html.count('<details class="card"') == 500
    assert len(html.encode()) < 2_000_000


def _renamed(entry: Entry, scenario: str, copy: int) -> Entry:
    method = entry.method + f"-{copy}" * bool(copy)
    results = tuple(
        result.model_copy(update={"method": method, "scenario": result.scenario.model_copy(update={"name": scenario})})
        for result in entry.results
    )
    return replace(entry, method=method, results=results)


def test_the_command_writes_a_page_and_prints_its_size(hostile: Board, tmp_path: Path) -> None:
    folder = hostile.entries[0].paths[0].parents[4]
    output = tmp_path / "page.html"
    arguments = ["report", "--output-dir", str(folder), "--output", str(output)]
    done = CliRunner().invoke(app, [*arguments, "--suite", "made"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{output}: {output.stat().st_size / 1e6:.2f} MB\n"
    assert output.read_text(encoding="utf-8") == render_page([hostile])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "page.pdf"], "Cannot write a page into page.pdf"),
        (["--suite", "other"], "Unknown suite with results 'other'"),
    ],
)
def test_what_a_user_can_fix_is_said_in_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "results" / "cdsr" / "v2").mkdir(parents=True)
    done = CliRunner().invoke(app, ["report", "--output-dir", str(tmp_path), *arguments])
    assert done.exit_code != 0
    assert message.lower() in str(done.exception).lower()


def test_the_front_is_of_points_that_none_beats() -> None:
    rng = np.random.default_rng(0)
    points = [Point(f"m{i}", float(c), float(q)) for i, (c, q) in enumerate(rng.integers(0, 12, (40, 2)))]
    front = pareto_front(points)
    beaten = {
        p.method
        for p in points
        if any(
            o.cost <= p.cost and o.quality >= p.quality and (o.cost, o.quality) != (p.cost, p.quality) for o in points
        )
    }
    assert {(p.cost, p.quality) for p in front} == {(p.cost, p.quality) for p in points if p.method not in beaten}


def test_colours_change_where_the_page_says() -> None:
    for number, start in enumerate(level_starts(0.2), start=1):
        assert level(start * 1.001, 0.2) == 3 + number
        assert level(start * 0.999, 0.2) == 3 + number - 1
        assert level(-start * 1.001, 0.2) == 3 - number
    assert level(0.0, 0.0) == 3


def test_markdown_of_reports_becomes_html_and_html_in_it_text() -> None:
    lines = [
        "## 模",
        "## 型",
        "## A & <b>",
        "",
        "| a | b |",
        "|:--|--:|",
        r"| x/v1 | \<i\> |",
        "",
        "<script>x</script>",
    ]
    shown = str(block(lines, "p", 4, {"x/v1": "suite-x"}))
    assert '<h4 id="p-x">模</h4>' in shown
    assert '<h4 id="p-x--2">型</h4>' in shown
    assert '<h4 id="p-a-b">A &amp; &lt;b&gt;</h4>' in shown
    assert '<th scope="col"' in shown
    assert '<a href="#suite-x">x/v1</a>' in shown
    assert "&lt;i&gt;" in shown
    assert "&lt;script&gt;" in shown
    assert str(inline(r"a<br>b \<br\> <br onload=x>")) == "a<br />\nb &lt;br&gt; &lt;br onload=x&gt;"
    assert str(inline("**a** <b> ![x](http://y) [z](javascript:alert(1))")).count("<") == 2


def test_ids_are_distinct_whatever_the_names() -> None:
    ids = Ids()
    made = [ids.new(*parts) for parts in [("a", "b"), ("a-b",), ("A b",), ("é",), ("模",), ("型",)]]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in made)


def test_colours_have_contrast_in_both_themes() -> None:
    """WCAG 2: 4.5 to 1 for text, 3 to 1 for what plots draw."""
    style = (Path(render.__file__).parent / "static" / "page.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{3,6});", rules)) for rules in re.findall(r"\{([^{}]*)\}", style)
    ]
    light, dark, system, *_ = [theme for theme in themes if "level-0" in theme]
    assert dark == system
    for theme in (light, dark):
        texts = [(name, ground) for name in ("ink", "muted", "link", "warn") for ground in ("paper", "raised")]
        texts += [("ink", f"level-{number}") for number in range(7)]
        drawn = [(name, "paper") for name in ("accent", "warn", "good", "muted", "focus")]
        assert [pair for pair in texts if _contrast(*(theme[name] for name in pair)) < 4.5] == []
        assert [pair for pair in drawn if _contrast(*(theme[name] for name in pair)) < 3] == []


def _contrast(one: str, other: str) -> float:
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
