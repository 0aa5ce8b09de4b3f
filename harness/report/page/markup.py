"""Markdown of the reports as HTML. HTML in it is shown as text."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

#: `html` is off, so tags in names are shown as text; nor do links of others lead out of the page.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])


def _line_break(state: StateInline, silent: bool) -> bool:
    """The only tag that markdown of reports holds: a line break in a table's cell."""
    if not state.src.startswith("<br>", state.pos):
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos += len("<br>")
    return True


_MARKDOWN.inline.ruler.before("html_inline", "line_break", _line_break)


def inline(text: str) -> Markup:
    """One line of markdown, such as a table's cell."""
    return Markup(_MARKDOWN.renderInline(text))  # noqa: S704 - the renderer escapes


def block(
    lines: Iterable[str],
    prefix: str = "",
    level: int = 3,
    links: Mapping[str, str] | None = None,
    caption: str = "Table",
    of: str = "",
) -> Markup:
    """Lines of markdown.

    Args:
        lines: paragraphs, lists, tables and headings.
        prefix: of the ids of headings; each block of a page needs its own.
        level: of its highest headings.
        links: id of an element by the text of a table's cell that links to it.
        caption: of tables before the first heading; those below one have the heading.
        of: what the tables are of, for their names: no two regions of a page have the same.
    """
    tokens = _MARKDOWN.parse("\n".join(lines))
    headings = [int(token.tag[1]) for token in tokens if token.type == "heading_open"]
    out: list[Token] = []
    named: Counter[str] = Counter()
    ids = Ids()
    for index, token in enumerate(tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(level + int(token.tag[1]) - min(headings), 6)}"
        if token.type == "heading_open":
            caption = "".join(child.content for child in tokens[index + 1].children or [])
            token.attrSet("id", ids.new(prefix, caption))
        if token.type == "th_open":
            token.attrSet("scope", "col")
        if token.type in ("th_open", "td_open"):
            style = str(token.attrs.pop("style", ""))
            if "right" not in style:
                token.attrSet("class", "t")
        if token.type == "inline" and tokens[index - 1].type == "td_open" and token.content in (links or {}):
            token.children = _linked(token.children or [], (links or {})[token.content])
        if token.type == "table_open":
            token.attrSet("class", "data")
            label = f"{caption} ({of})" if of else caption
            named[label] += 1
            label += f", table {named[label]}" if named[label] > 1 else ""
            out.append(_raw(f'<div class="box" tabindex="0" role="region" aria-label="{escape(label)}">'))
        out.append(token)
        if token.type == "table_open":
            out.append(_raw(f'<caption class="hidden">{escape(caption)}</caption>'))
        if token.type == "table_close":
            out.append(_raw("</div>"))
    return Markup(_MARKDOWN.renderer.render(out, _MARKDOWN.options, {}))  # noqa: S704 - the renderer escapes


def _raw(html: str) -> Token:
    return Token("html_block", "", 0, content=html)


def _linked(children: Sequence[Token], target: str) -> list[Token]:
    return [Token("link_open", "a", 1, attrs={"href": f"#{target}"}), *children, Token("link_close", "a", -1)]


def slug(text: str) -> str:
    """A name as part of an id: letters, digits and single hyphens.

    >>> slug("Is «weaverec» better?")
    'is-weaverec-better'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "x"


class Ids:
    """Distinct ids of the elements of a page."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def new(self, *parts: str) -> str:
        """An id from the names of what it is of; a number is added where it is taken."""
        name = "-".join(map(slug, parts))
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else f"{name}--{count}"
