"""Tell double quotes that quote a field from those that are part of it.

A field is quoted if it starts with a double quote and ends with one before the next delimiter or line end, with quotes
inside it doubled (RFC 4180). Files written without quoting contain double quotes too, as in `12" single`: read as
quoting, one of them swallows every row up to the next.
"""

import re

import numpy as np

_QUOTE, _END = ord('"'), ord("\n")
#: Longest quoted field of several lines, in bytes.
_MAX_FIELD = 2**20


class QuoteScanner:
    """Escapes the stray double quotes of a text: those that do not quote a field.

    Args:
        delimiter: one byte.
        fields: number of fields of a record.
        doubtful: whether a quoted field of several lines is accepted if each of its lines could be a record.
        line: number of the first line.

    Attributes:
        certain: number of records that are possible only with quoting: a delimiter, a line end or a double quote is
            inside a quoted field.
        literal: number of records with a stray quote.
        first: the line of the first record with a stray quote, from 1 with the header line; 0 if there is none.
        sound: whether every line so far was a record with the right number of fields, and nothing was changed.
    """

    def __init__(self, delimiter: bytes, fields: int, doubtful: bool, line: int = 1) -> None:
        d = re.escape(delimiter)
        self._delimiter, self._fields, self._doubtful = delimiter, fields, doubtful
        self._quoted = re.compile(rb'"(?:[^"\n]++|"")*+"(?=[' + d + rb"\n])")
        self._quoted_lines = re.compile(rb'"(?:[^"]++|"")*+"(?=[' + d + rb"\n])")
        self._unquoted = re.compile(rb"[^" + d + rb"\n]*+")
        self._line = line
        self.certain = self.literal = self.first = 0
        self.sound = True

    def scan(self, text: bytes, last: bool) -> tuple[bytes, int, int]:
        """Escape the stray quotes of a text.

        Args:
            text: whole lines, each with its line end.
            last: whether no text follows.

        Returns:
            The escaped text, its number of records, and how many bytes of the input it covers. The remaining bytes
            must be passed again, followed by more text.
        """
        if (certain := self._is_sound(text)) is not None:
            self.certain += certain
            lines = text.count(b"\n")
            self._line += lines
            return text, lines, len(text)
        self.sound = False
        parts: list[bytes] = []
        at = records = 0
        while (quote := text.find(b'"', at)) >= 0:
            start = max(at, text.rfind(b"\n", at, quote) + 1)
            scanned = self._record(text, start, last, several_lines=True)
            before = text[at:start]
            parts.append(before)
            records += before.count(b"\n")
            self._line += before.count(b"\n")
            if scanned is None:
                return b"".join(parts), records, start
            record, at, literal, certain = scanned
            parts.append(record)
            records += 1
            if literal:
                self.first = self.first or self._line
                self.literal += 1
            self.certain += certain
            self._line += text.count(b"\n", start, at)
        rest = text[at:]
        self._line += rest.count(b"\n")
        return b"".join((*parts, rest)), records + rest.count(b"\n"), len(text)

    def _is_sound(self, text: bytes) -> bool | None:
        """Whether a text of sound records has some that need quoting; None if not every line is a sound record."""
        if not text:
            return False
        data = np.frombuffer(text, np.uint8)
        quotes = data == _QUOTE
        inside = (np.cumsum(quotes, dtype=np.uint8) & 1).astype(bool)  # from an opening quote to before a closing one
        delimiters, ends = data == self._delimiter[0], data == _END
        edges = quotes | delimiters | ends
        opening, closing = np.flatnonzero(quotes & inside), np.flatnonzero(quotes & ~inside)
        if inside[-1] or (ends & inside).any() or not edges[opening - 1].all() or not edges[closing + 1].all():
            return None
        stops = data[(delimiters & ~inside) | ends]
        records, rest = divmod(len(stops), self._fields)
        if rest or np.count_nonzero(ends) != records or not (stops[self._fields - 1 :: self._fields] == _END).all():
            return None
        return bool((delimiters & inside).any() or quotes[closing + 1].any())

    def _record(self, text: bytes, start: int, last: bool, several_lines: bool) -> tuple[bytes, int, bool, bool] | None:
        """Scan one record.

        Returns:
            The escaped record, the position after it, whether it has a stray quote, and whether it needs quoting; None
            if more text is needed to decide.
        """
        parts: list[bytes] = []
        at, spans_lines, literal, certain = start, False, not several_lines, False
        while True:
            match = self._quoted.match(text, at) if text[at] == _QUOTE else None
            if match is None and several_lines and text[at] == _QUOTE:
                match = self._quoted_lines.match(text, at, at + _MAX_FIELD)
                if match is None and not last and len(text) - at < _MAX_FIELD:
                    return None
                spans_lines = spans_lines or match is not None
            if match is not None:
                field = match[0]
                certain = certain or self._delimiter in field or b'""' in field[1:-1]
            else:
                match = self._unquoted.match(text, at)
                assert match is not None  # noqa: S101 - it matches everywhere
                field = match[0]
                if b'"' in field:
                    literal = True
                    field = b'"' + field.replace(b'"', b'""') + b'"'
            at = match.end() + 1
            parts.append(field)
            if text[at - 1] != _END:
                continue
            raw = text[start : at - 1]
            if spans_lines and not self._is_record(raw, len(parts)):
                return self._record(text, start, last, several_lines=False)
            if len(parts) != self._fields == raw.count(self._delimiter) + 1:  # a record only without quoting
                cells = [b'"' + cell.replace(b'"', b'""') + b'"' for cell in raw.split(self._delimiter)]
                return self._delimiter.join(cells) + b"\n", at, True, False
            return self._delimiter.join(parts) + b"\n", at, literal, certain or spans_lines

    def _is_record(self, record: bytes, fields: int) -> bool:
        """Whether several lines are one record."""
        if fields != self._fields:
            return False
        return self._doubtful or any(line.count(self._delimiter) != fields - 1 for line in record.split(b"\n"))
