"""Texts without HTML."""

from html import unescape
from html.parser import HTMLParser

#: What stands between words: other tags, as in wa<b>t</b>er, may stand within one.
_BREAKS = frozenset({"br", "p", "div", "li", "ul", "ol", "tr", "td", "th", "table", "h1", "h2", "h3", "h4", "hr"})
_SILENT = frozenset({"script", "style"})


def without_html(text: str) -> str:
    """A text without tags, and with the characters that its entities stand for; `a < b` stays.

    >>> without_html("Tom &amp; Jerry<br><b>Season</b> 1")
    'Tom & Jerry Season 1'
    """
    if "<" not in text:
        return unescape(text)
    parser = _Texts()
    try:
        parser.feed(text)
        parser.close()
    except AssertionError:  # how the parser meets some broken declarations
        return unescape(text)
    return "".join(parser.parts)


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = False

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self._silent = tag in _SILENT
        if tag in _BREAKS:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self.handle_starttag(tag, None)
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)
