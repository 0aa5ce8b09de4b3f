"""The page as one HTML file, which loads nothing from elsewhere."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.report.claims import Claims, claim_sections
from harness.report.collect import Board
from harness.report.page.content import Page, Section
from harness.report.page.markup import Ids, block
from harness.report.page.suite import suite_part


def render_page(boards: Sequence[Board], claims: Sequence[Claims] = ()) -> str:
    """The page of some boards and of the claims that they test.

    Args:
        boards: in the order of the page.
        claims: shown below the suites.

    Returns:
        HTML without references to other files: styles and scripts are in it, and its security policy forbids others.
    """
    ids = Ids()
    suites = tuple(suite_part(board, ids) for board in boards)
    by_suite = {f"{board.suite}/v{board.version}": board for board in boards}
    links = {suite.title: suite.id for suite in suites}
    parts = tuple(_claim_part(each, by_suite, links, ids) for each in claims)
    return _html(Page(suites, parts))


def _claim_part(claims: Claims, boards: Mapping[str, Board], links: Mapping[str, str], ids: Ids) -> Section:
    claim_id = ids.new("claims", claims.title)
    return Section(claim_id, claims.title, block(claim_sections(claims, boards.get), claim_id, 3, links))


def _html(page: Page) -> str:
    script, style = _static("page.js"), _static("page.css")
    policy = (
        f"default-src 'none'; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=PackageLoader("harness.report.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    template = environment.get_template("page.html.jinja")
    # The two files are ours; neither holds `</script` or `</style`.
    return template.render(page=page, policy=policy, script=Markup(script), style=Markup(style))  # noqa: S704


@cache
def _static(name: str) -> str:
    return (files("harness.report.page") / "static" / name).read_text(encoding="utf-8")
