"""Read timestamps without rounding, as int64 Unix nanoseconds."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
#: `s`, `ms`, `us`, `ns` since 1970; `date`: ISO 8601 only; `auto`: the unit of each number is inferred from its size.
TimeUnit = Literal["s", "ms", "us", "ns", "date", "auto"]

#: Nanoseconds of each unit, the coarsest first.
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
#: `auto`: numbers below each limit are in its unit. 10^11 seconds are the year 5138, 10^11 milliseconds March 1973.
_LIMITS = {"s": 10**11, "ms": 10**14, "us": 10**17}

_FEBRUARY_1970 = 31 * 86_400 * 10**9
_YEAR_1980 = 10 * 365 * 86_400 * 10**9

_DECIMAL = r"^(?P<sign>[+-]?)(?P<whole>[0-9]{1,18}|[0-8][0-9]{18})(?:\.(?P<part>[0-9]*))?$"
_SCIENTIFIC = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?$"
#: Largest number, and latest instant in nanoseconds (in the year 2255), that is read: int64 holds it.
_LARGEST = 9 * 10**18


@dataclass(frozen=True)
class Instants:
    """A parsed column of times.

    Attributes:
        nanoseconds: int64 [n], Unix nanoseconds; 0 for unusable times.
        missing: bool [n], not a time at all.
        negative: bool [n], before 1970.
        future: bool [n], after the latest accepted instant.
        numbers: float64 [n], the approximate numbers in the file; NaN where there is no number.
    """

    nanoseconds: Ints
    missing: NDArray[np.bool_]
    negative: NDArray[np.bool_]
    future: NDArray[np.bool_]
    numbers: NDArray[np.float64]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Instants from 1970 to the latest accepted one: bool [n]."""
        return ~(self.missing | self.negative | self.future)

    @property
    def is_number(self) -> NDArray[np.bool_]:
        """Whether the time is written as a number, not as a date: bool [n]."""
        return ~np.isnan(self.numbers)

    @property
    def suspicious(self) -> NDArray[np.bool_]:
        """Numbers that are in January 1970 or the future, and may be in another unit: bool [n]."""
        return self.is_number & (self.future | (self.usable & (self.nanoseconds < _FEBRUARY_1970)))


def read_times(column: pa.Array, unit: TimeUnit, latest: int, time_format: str = "") -> Instants:
    """Read a column of times exactly; digits below a nanosecond are cut off.

    Numbers are in `unit`. Dates in ISO 8601 are read whatever the unit, as they cannot be anything else. Without a
    time zone they are UTC.

    Args:
        column: strings.
        unit: of numbers.
        latest: Unix nanoseconds; later times are `future`.
        time_format: as in `datetime.strptime`; if given, only this format is read.
    """
    text = pc.utf8_trim_whitespace(column)
    n = len(text)
    out = Instants(np.zeros(n, np.int64), np.ones(n, bool), np.zeros(n, bool), np.zeros(n, bool), np.full(n, np.nan))
    if time_format:
        _put_dates(out, np.arange(n), text, time_format, latest)
        return out
    if unit != "date":
        _read_numbers(out, text, unit, latest)
    pattern = "^[0-9]{4}" if unit == "date" else "^[0-9]{4}-"
    rows = np.flatnonzero(out.missing & np.asarray(pc.fill_null(pc.match_substring_regex(text, pattern), False)))
    if len(rows):
        # ISO 8601 allows a decimal comma; databases write UTC as a word.
        dates = pc.replace_substring_regex(text.take(pa.array(rows)), r"\s*(UTC|GMT)$", "Z")
        dates = pc.replace_substring_regex(dates, r",([0-9])", r".\1")
        _put_dates(out, rows, dates, "ISO8601", latest)
    return out


def fitting_unit(numbers: NDArray[np.float64], latest: int) -> NDArray[np.str_]:
    """The unit that puts each number between 1980 and the latest instant; empty if there is none.

    Args:
        numbers: float64 [n].
        latest: Unix nanoseconds.
    """
    fits = np.full(len(numbers), "", dtype="<U2")
    for unit, factor in NANOSECONDS.items():
        fits[(numbers >= _YEAR_1980 / factor) & (numbers <= latest / factor)] = unit
    return fits


def unit_by_size(numbers: NDArray[np.float64] | Ints) -> NDArray[np.str_]:
    """The unit that `auto` infers for each number: str [n].

    Args:
        numbers: float64 or int64 [n].
    """
    return np.select([numbers < limit for limit in _LIMITS.values()], list(_LIMITS), "ns")


def coarsest_unit(nanoseconds: Ints) -> str:
    """The coarsest of s, ms, us and ns in which all instants (int64 [n], Unix nanoseconds) are whole numbers."""
    return next(unit for unit, factor in NANOSECONDS.items() if not (nanoseconds % factor).any())


def as_seconds(nanoseconds: int) -> str:
    """Unix seconds as text, with a fraction only if it is not zero: `1500000000`, `1500000000.09`."""
    whole, part = divmod(nanoseconds, 10**9)
    return f"{whole}.{part:09d}".rstrip("0") if part else str(whole)


def as_day(seconds: str | int) -> str:
    """The day of an instant in Unix seconds, as `as_seconds` writes them: `2017-07-14`."""
    return f"{datetime.fromtimestamp(int(str(seconds).partition('.')[0]), UTC):%Y-%m-%d}"


def _read_numbers(out: Instants, text: pa.Array, unit: TimeUnit, latest: int) -> None:
    """Read the times that are numbers."""
    # Whole numbers, in nearly all files. The cast alone would accept 0x10.
    if pc.all(pc.ascii_is_decimal(text)).as_py() is not False:
        with suppress(pa.ArrowInvalid):  # too large for 64 bits
            whole = text.cast(pa.int64())
            rows = np.flatnonzero(np.asarray(whole.is_valid()))
            _put_numbers(out, rows, np.asarray(whole.drop_null()), np.zeros(len(rows), np.int64), unit, latest)
            return
    parts = pc.extract_regex(text, _DECIMAL)
    rows = np.asarray(parts.is_valid())
    sign, whole, part = (pc.struct_field(parts.drop_null(), name) for name in ("sign", "whole", "part"))
    billionths = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.fill_null(part, ""), 9, "0"), 0, 9).cast(pa.int64())
    factor = np.where(np.asarray(pc.equal(sign, "-")), -1, 1)
    _put_numbers(
        out,
        np.flatnonzero(rows),
        np.asarray(whole.cast(pa.int64())) * factor,
        np.asarray(billionths) * factor,
        unit,
        latest,
    )
    rest = np.flatnonzero(~rows & np.asarray(pc.fill_null(pc.match_substring_regex(text, _SCIENTIFIC), False)))
    for row in rest:  # such as 1.5e+09; rare, so row by row
        value = Decimal(text[row].as_py())
        if abs(value) > _LARGEST:
            value = Decimal(_LARGEST).copy_sign(value)  # in the future in every unit
        scaled = value * 10**9
        whole_part, billionth = divmod(abs(int(scaled)), 10**9)
        sign_of_value = -1 if value < 0 else 1
        _put_numbers(
            out,
            np.array([row]),
            np.array([whole_part * sign_of_value]),
            np.array([billionth * sign_of_value]),
            unit,
            latest,
        )


def _put_numbers(out: Instants, rows: Ints, whole: Ints, billionths: Ints, unit: TimeUnit, latest: int) -> None:
    """Store numbers, given as whole part and billionths of their unit, at some rows."""
    out.missing[rows] = False
    out.numbers[rows] = whole + billionths / 1e9
    factors = np.full(len(rows), NANOSECONDS.get(unit, 1))
    if unit == "auto":
        factors = np.array([NANOSECONDS[name] for name in unit_by_size(whole)], dtype=np.int64)
    out.negative[rows] = (whole < 0) | (billionths < 0)
    out.future[rows] = whole > latest // factors
    usable = ~(out.negative[rows] | out.future[rows])
    out.nanoseconds[rows[usable]] = (whole * factors + billionths * factors // 10**9)[usable]


def _put_dates(out: Instants, rows: Ints, texts: pa.Array, date_format: str, latest: int) -> None:
    """Store dates at some rows."""
    import pandas as pd  # not at the top: reports read no times

    dates = pd.to_datetime(texts.to_pandas(), errors="coerce", utc=True, format=date_format)
    missing = dates.isna().to_numpy()
    seconds = dates.dt.as_unit("s").astype("int64").to_numpy().copy()
    for index in np.flatnonzero(missing):  # pandas 2 has no dates outside 1677 to 2262
        far_date = _far_date(texts[int(index)].as_py(), date_format)
        if far_date is not None:
            missing[index], seconds[index] = False, far_date
    far = ~missing & (np.abs(seconds) > _LARGEST // 10**9)  # out of range in nanoseconds
    nanoseconds = dates.mask(far).dt.as_unit("ns").astype("int64").to_numpy()
    out.missing[rows] = missing
    out.negative[rows] = ~missing & np.where(far, seconds < 0, nanoseconds < 0)
    out.future[rows] = ~missing & np.where(far, seconds > 0, nanoseconds > latest)
    out.nanoseconds[rows] = np.where(out.usable[rows], nanoseconds, 0)


def _far_date(text: str | None, date_format: str) -> int | None:
    """Unix seconds of a date that nanoseconds cannot represent; None for any other text."""
    try:
        if date_format == "ISO8601":
            date = datetime.fromisoformat(text or "")
        else:
            date = datetime.strptime(text or "", date_format)
        date = date.replace(tzinfo=date.tzinfo or UTC)
        seconds = int((date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None
    return seconds if abs(seconds) > _LARGEST // 10**9 else None
