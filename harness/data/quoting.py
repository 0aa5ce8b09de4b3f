"""Double quotes in delimited text: which of them quote a field, and which are part of it.

A field is quoted if it begins with a quote and ends with one before the next delimiter or line end, with quotes doubled
in between (RFC 4180). Files whose writer did not quote hold quotes too, as in `12" single`: taken for quoting, one of
them swallows every row up to the next.
"""

import re

import numpy as np

_QUOTE, _END = ord('"'), ord("\n")
#: How far, in bytes, a quoted field may go on after its first line.
_FARTHEST = 2**20


class QuoteScanner:
    """Goes through a text, and makes every quote that quotes nothing part of its field.

    Args:
        delimiter: one byte.
        fields: number of fields of a record.
        doubtful: whether a quoted field of several lines stays one where each of its lines could be a record.

    Attributes:
        certain: records that only quoting explains: a delimiter, a line end or a quote inside a quoted field.
        literal: records with a quote that quotes nothing.
        first: the line of the first of these, from 1 with the header line.
        sound: whether so far each line was a record with as many fields as it should have, and nothing was changed.
    """

    def __init__(self, delimiter: bytes, fields: int, doubtful: bool, line: int = 1) -> None:
        d = re.escape(delimiter)
        inside = rb'"(?:[^"\n]++|"")*+"'
        self._delimiter, self._fields, self._doubtful = delimiter, fields, doubtful
        self._one_line = re.compile(inside + rb"(?=[" + d + rb"\n])")
        self._lines = re.compile(rb'"(?:[^"]++|"")*+"(?=[' + d + rb"\n])")
        self._plain = re.compile(rb"[^" + d + rb"\n]*+")
        self._line = line
        self.certain = self.literal = self.first = 0
        self.sound = True

    def scan(self, text: bytes, last: bool) -> tuple[bytes, int, int]:
        """Makes a text one in which quotes do nothing but quote.

        Args:
            text: whole lines, each with its end.
            last: whether no text follows.

        Returns:
            The text, the number of records in it, and the bytes it was made of: what is left waits for what follows.
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
            found = self._record(text, start, last, several=True)
            before = text[at:start]
            parts.append(before)
            records += before.count(b"\n")
            self._line += before.count(b"\n")
            if found is None:
                return b"".join(parts), records, start
            record, at, literal, certain = found
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
        """Whether a text holds what only quoting explains; None if not every line is a record as it should be."""
        if not text:
            return False
        data = np.frombuffer(text, np.uint8)
        quotes = data == _QUOTE
        inside = (np.cumsum(quotes, dtype=np.uint8) & 1).astype(bool)  # from an opening quote to before the closing
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

    def _record(self, text: bytes, start: int, last: bool, several: bool) -> tuple[bytes, int, bool, bool] | None:
        """A record, the place after it, and whether it is literal or certain; None if more text is needed to tell."""
        parts: list[bytes] = []
        at, spans, literal, certain = start, False, not several, False
        while True:
            match = self._one_line.match(text, at) if text[at] == _QUOTE else None
            if match is None and several and text[at] == _QUOTE:
                match = self._lines.match(text, at, at + _FARTHEST)
                if match is None and not last and len(text) - at < _FARTHEST:
                    return None
                spans = spans or match is not None
            if match is not None:
                field = match[0]
                certain = certain or self._delimiter in field or b'""' in field[1:-1]
            else:
                match = self._plain.match(text, at)
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
            if spans and not self._holds(raw, len(parts)):
                return self._record(text, start, last, several=False)
            if len(parts) != self._fields == raw.count(self._delimiter) + 1:  # right only as it stands
                cells = [b'"' + cell.replace(b'"', b'""') + b'"' for cell in raw.split(self._delimiter)]
                return self._delimiter.join(cells) + b"\n", at, True, False
            return self._delimiter.join(parts) + b"\n", at, literal, certain or spans

    def _holds(self, record: bytes, fields: int) -> bool:
        """Whether a record of several lines is one."""
        if fields != self._fields:
            return False
        return self._doubtful or any(line.count(self._delimiter) != fields - 1 for line in record.split(b"\n"))
