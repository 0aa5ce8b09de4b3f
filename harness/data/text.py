"""Texts of raw fields: lists joined, HTML removed, white space normalised."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

#: Tags that separate words. Other tags, as in wa<b>t</b>er, may stand within one.
_BREAKS = frozenset({"br", "p", "div", "li", "ul", "ol", "tr", "td", "th", "table", "h1", "h2", "h3", "h4", "hr"})
_NOT_TEXT = frozenset({"script", "style"})
_WHITE_SPACE = re.compile(r"\s+")


def one_line(text: str) -> str:
    """Replace every run of white space by one space, and strip."""
    return _WHITE_SPACE.sub(" ", text).strip()


def text_of(value: Any) -> str | None:
    """A field's value as text: the elements of lists, however deeply nested, joined by spaces; None if there is none.

    Raises:
        ValueError: the text cannot be encoded as UTF-8 (lone surrogates), or a number has lost digits.
    """
    if isinstance(value, str):
        value.encode()
        return value
    if value is None or isinstance(value, dict):
        return None
    if isinstance(value, list | tuple):
        parts: list[str] = []
        stack: list[Any] = [value]
        while stack:  # no recursion: files nest deeper than Python's call stack
            element = stack.pop()
            if isinstance(element, list | tuple):
                stack.extend(reversed(element))
            elif text := text_of(element):
                parts.append(text)
        return " ".join(parts)
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= 2**63:
            raise ValueError(f"the number {value} has lost digits")
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, set | frozenset):  # sorted, as the order of a set varies
        return " ".join(sorted(str(part) for part in value))
    return str(value)


def without_html(text: str) -> str:
    """Remove tags and resolve entities; `a < b` stays as it is.

    >>> without_html("Tom &amp; Jerry<br><b>Season</b> 1")
    'Tom & Jerry Season 1'
    """
    if "<" not in text:
        return unescape(text)
    parser = _TextParser()
    try:
        parser.feed(text)
        parser.close()
    except AssertionError:  # the parser raises it for some broken declarations
        return unescape(text)
    return "".join(parser.parts)


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._skipping = False

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self._skipping = tag in _NOT_TEXT
        if tag in _BREAKS:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self.handle_starttag(tag, None)
        self._skipping = False

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.parts.append(data)
