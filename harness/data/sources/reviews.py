"""Review dumps with one record a line: Amazon 2014, 2018 and 2023, and Steam.

- Amazon 2014: J. McAuley et al., "Image-based recommendations on styles and substitutes", SIGIR 2015. Reviews are
  JSON; meta lines are Python literals.
- Amazon 2018: J. Ni, J. Li and J. McAuley, "Justifying recommendations using distantly-labeled reviews", EMNLP 2019.
- Amazon 2023: Y. Hou et al., "Bridging language and items for retrieval and recommendation", arXiv 2403.03952.
- Steam: W.-C. Kang and J. McAuley, "Self-attentive sequential recommendation", ICDM 2018. Python literals throughout.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from harness.data import parse_columns
from harness.data.readers import LineParser, Reader, parse_json, parse_literal, read_records
from harness.data.records import Findings, RawDomain, ReadProgress, no_read_progress
from harness.data.sources.source import Source, omitted_if
from harness.data.times import TimeUnit

#: Format of the lines of a file.
LineFormat = Literal["json", "literal"]
_PARSERS: dict[LineFormat, LineParser] = {"json": parse_json, "literal": parse_literal}


class _Reviews(Source):
    """A file of reviews and a file of items; subclasses define the format of their lines."""

    reviews: Path
    meta: Path
    text: tuple[str, ...]
    clean_html: bool = omitted_if(False)

    event_fields: ClassVar[tuple[str, str, str]]
    item_field: ClassVar[str]
    unit: ClassVar[TimeUnit] = "s"
    event_lines: ClassVar[LineFormat] = "json"
    item_lines: ClassVar[LineFormat] = "json"

    def files(self, folder: Path) -> Sequence[Path]:
        """The two files."""
        return (folder / self.reviews, folder / self.meta)

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        events, meta = self.files(folder)
        findings = Findings()
        reader = Reader(findings, report)
        chunks = read_records(events, self.event_fields, _PARSERS[self.event_lines], reader)
        return RawDomain(
            name,
            parse_columns.interactions(chunks, self.event_fields, self.unit, findings),
            lambda item_ids: parse_columns.items(
                read_records(
                    meta,
                    (self.item_field, *self.text),
                    _PARSERS[self.item_lines],
                    reader,
                    _mentions_item(self.item_field, item_ids),
                ),
                self.item_field,
                self.text,
                findings,
                self.clean_html,
            ),
            findings,
            has_text=bool(self.text),
        )


def _mentions_item(field: str, item_ids: frozenset[str]) -> Callable[[bytes], bool]:
    """A test whether a line may be the record of one of some items; true for lines in which it finds no id.

    Most records of a meta file are not needed, and parsing them all, literals above all, would take most of the time.
    """
    pattern = re.compile(rb"""["']""" + field.encode() + rb"""["']\s*:\s*u?(["']?)([^"'\\,}\s][^"'\\,}]*)\1""")
    needed = {item.encode() for item in item_ids}

    def mentions(line: bytes) -> bool:
        ids = [match[1].strip() for match in pattern.findall(line)]
        return not ids or not needed.isdisjoint(ids)

    return mentions


class Amazon2014(_Reviews):
    """`reviews_X_5.json.gz` (or `reviews_X.json.gz`) and `meta_X.json.gz`."""

    source: Literal["amazon-2014"] = "amazon-2014"
    users: str | None = "amazon"
    text: tuple[str, ...] = ("title",)

    event_fields: ClassVar[tuple[str, str, str]] = ("reviewerID", "asin", "unixReviewTime")
    item_field: ClassVar[str] = "asin"
    item_lines: ClassVar[LineFormat] = "literal"


class Amazon2018(_Reviews):
    """`X_5.json.gz` (or `X.json.gz`) and `meta_X.json.gz`."""

    source: Literal["amazon-2018"] = "amazon-2018"
    users: str | None = "amazon"
    text: tuple[str, ...] = ("title",)

    event_fields: ClassVar[tuple[str, str, str]] = ("reviewerID", "asin", "unixReviewTime")
    item_field: ClassVar[str] = "asin"


class Amazon2023(_Reviews):
    """`X.jsonl.gz` and `meta_X.jsonl.gz`; items are parent products, times are in milliseconds."""

    source: Literal["amazon-2023"] = "amazon-2023"
    users: str | None = "amazon-2023"
    text: tuple[str, ...] = ("title",)

    event_fields: ClassVar[tuple[str, str, str]] = ("user_id", "parent_asin", "timestamp")
    item_field: ClassVar[str] = "parent_asin"
    unit: ClassVar[TimeUnit] = "ms"


class Steam(_Reviews):
    """`steam_reviews.json.gz` and `steam_games.json.gz`; user ids are names, times are dates."""

    source: Literal["steam"] = "steam"
    users: str | None = "steam"
    text: tuple[str, ...] = ("app_name",)

    event_fields: ClassVar[tuple[str, str, str]] = ("username", "product_id", "date")
    item_field: ClassVar[str] = "id"
    unit: ClassVar[TimeUnit] = "date"
    event_lines: ClassVar[LineFormat] = "literal"
    item_lines: ClassVar[LineFormat] = "literal"
