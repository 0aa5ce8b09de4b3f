"""Instants: int64 Unix nanoseconds inside the project; what files write, read without rounding."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
#: `s`, `ms`, `us`, `ns` since 1970; `date`: ISO 8601 only; `auto`: each number's size says which unit it is in.
TimeUnit = Literal["s", "ms", "us", "ns", "date", "auto"]

#: Nanoseconds of each unit, the coarsest first.
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
#: `auto`: numbers below this are in that unit. 10^11 seconds are the year 5138, 10^11 milliseconds are March 1973.
_BELOW = {"s": 10**11, "ms": 10**14, "us": 10**17}

_JANUARY_1970 = 31 * 86_400 * 10**9
_EARLIEST = 10 * 365 * 86_400 * 10**9  # of what a wrong unit is recognised by: 1980

_DECIMAL = r"^(?P<sign>[+-]?)(?P<whole>[0-9]{1,18}|[0-8][0-9]{18})(?:\.(?P<part>[0-9]*))?$"
_SCIENTIFIC = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?$"
#: What is read as a number, or a date in nanoseconds, at most: the year 2255 in nanoseconds, which int64 holds.
_LARGEST = 9 * 10**18


@dataclass(frozen=True)
class Instants:
    """What a column of times says.

    Attributes:
        nanoseconds: int64 [n], Unix nanoseconds; 0 where there is no instant that can be used.
        missing: bool [n], no instant at all.
        negative: bool [n], before 1970.
        future: bool [n], after the latest instant that is accepted.
        numbers: float64 [n], the numbers as they are written, about; NaN where it is no number.
    """

    nanoseconds: Ints
    missing: NDArray[np.bool_]
    negative: NDArray[np.bool_]
    future: NDArray[np.bool_]
    numbers: NDArray[np.float64]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Instants from 1970 to the latest that is accepted: bool [n]."""
        return ~(self.missing | self.negative | self.future)

    @property
    def is_number(self) -> NDArray[np.bool_]:
        """Whether it is written as a number, not as a date: bool [n]."""
        return ~np.isnan(self.numbers)

    @property
    def suspicious(self) -> NDArray[np.bool_]:
        """Numbers that lie in January 1970, or in the future: in another unit they may be sound. bool [n]."""
        return self.is_number & (self.future | (self.usable & (self.nanoseconds < _JANUARY_1970)))


def read_times(column: pa.Array, unit: TimeUnit, latest: int, time_format: str = "") -> Instants:
    """Reads a column of times exactly; digits below a nanosecond are cut off.

    Numbers are in `unit`. A text that is a date and time as ISO 8601 writes it is read as that whatever the unit: it
    can be nothing else. Without a time zone it is UTC.

    Args:
        column: strings.
        unit: of numbers.
        latest: Unix nanoseconds; what comes after is `future`.
        time_format: as `datetime.strptime` has it; then nothing else is read.
    """
    text = pc.utf8_trim_whitespace(column)
    n = len(text)
    out = Instants(np.zeros(n, np.int64), np.ones(n, bool), np.zeros(n, bool), np.zeros(n, bool), np.full(n, np.nan))
    if time_format:
        _take(
            out, np.arange(n), pd.to_datetime(text.to_pandas(), errors="coerce", utc=True, format=time_format), latest
        )
        return out
    if unit != "date":
        _read_numbers(out, text, unit, latest)
    dates = "^[0-9]{4}" if unit == "date" else "^[0-9]{4}-"
    rest = np.flatnonzero(out.missing & np.asarray(pc.fill_null(pc.match_substring_regex(text, dates), False)))
    if len(rest):
        # ISO 8601 allows a decimal comma; databases write UTC as a word.
        written = pc.replace_substring_regex(text.take(pa.array(rest)), r"\s*(UTC|GMT)$", "Z")
        written = pc.replace_substring_regex(written, r",([0-9])", r".\1")
        _take(out, rest, pd.to_datetime(written.to_pandas(), errors="coerce", utc=True, format="ISO8601"), latest)
    return out


def fitting_unit(numbers: NDArray[np.float64], latest: int) -> NDArray[np.str_]:
    """The unit in which each number lies between 1980 and the latest instant; empty where none does.

    Args:
        numbers: float64 [n].
        latest: Unix nanoseconds.
    """
    fits = np.full(len(numbers), "", dtype="<U2")
    for unit, factor in NANOSECONDS.items():
        fits[(numbers >= _EARLIEST / factor) & (numbers <= latest / factor)] = unit
    return fits


def unit_by_size(numbers: NDArray[np.float64] | Ints) -> NDArray[np.str_]:
    """What `auto` takes each number to be in: str [n].

    Args:
        numbers: float64 or int64 [n].
    """
    return np.select([numbers < bound for bound in _BELOW.values()], list(_BELOW), "ns")


def coarsest_unit(nanoseconds: Ints) -> str:
    """The coarsest of s, ms, us and ns in which all of some instants (int64 [n], Unix nanoseconds) are whole."""
    return next(unit for unit, factor in NANOSECONDS.items() if not (nanoseconds % factor).any())


def as_seconds(nanoseconds: int) -> str:
    """Unix seconds, with a fraction only where there is one: `1500000000`, `1500000000.09`."""
    whole, part = divmod(nanoseconds, 10**9)
    return f"{whole}.{part:09d}".rstrip("0") if part else str(whole)


def as_day(seconds: str | int) -> str:
    """The day of an instant in Unix seconds, as `as_seconds` writes them: `2017-07-14`."""
    return f"{datetime.fromtimestamp(int(str(seconds).partition('.')[0]), UTC):%Y-%m-%d}"


def _read_numbers(out: Instants, text: pa.Array, unit: TimeUnit, latest: int) -> None:
    # Whole numbers, in nearly all files. The cast alone would take 0x10 for a number.
    if pc.all(pc.ascii_is_decimal(text)).as_py() is not False:
        with suppress(pa.ArrowInvalid):  # too large for 64 bits
            whole = text.cast(pa.int64())
            rows = np.flatnonzero(np.asarray(whole.is_valid()))
            _put(out, rows, np.asarray(whole.drop_null()), np.zeros(len(rows), np.int64), unit, latest)
            return
    parts = pc.extract_regex(text, _DECIMAL)
    rows = np.asarray(parts.is_valid())
    sign, whole, part = (pc.struct_field(parts.drop_null(), name) for name in ("sign", "whole", "part"))
    billionths = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.fill_null(part, ""), 9, "0"), 0, 9).cast(pa.int64())
    factor = np.where(np.asarray(pc.equal(sign, "-")), -1, 1)
    _put(
        out,
        np.flatnonzero(rows),
        np.asarray(whole.cast(pa.int64())) * factor,
        np.asarray(billionths) * factor,
        unit,
        latest,
    )
    rest = np.flatnonzero(~rows & np.asarray(pc.fill_null(pc.match_substring_regex(text, _SCIENTIFIC), False)))
    for row in rest:  # such as 1.5e+09: few files, so row by row
        value = Decimal(text[row].as_py())
        if abs(value) > _LARGEST:
            value = Decimal(_LARGEST).copy_sign(value)  # the future in every unit
        scaled = value * 10**9
        whole_part, billionth = divmod(abs(int(scaled)), 10**9)
        minus = -1 if value < 0 else 1
        _put(out, np.array([row]), np.array([whole_part * minus]), np.array([billionth * minus]), unit, latest)


def _put(out: Instants, rows: Ints, whole: Ints, billionths: Ints, unit: TimeUnit, latest: int) -> None:
    """Numbers (their whole part, and billionths of their unit) at some rows."""
    out.missing[rows] = False
    out.numbers[rows] = whole + billionths / 1e9
    factors = np.full(len(rows), NANOSECONDS.get(unit, 1))
    if unit == "auto":
        factors = np.array([NANOSECONDS[name] for name in unit_by_size(whole)], dtype=np.int64)
    out.negative[rows] = (whole < 0) | (billionths < 0)
    out.future[rows] = whole > latest // factors
    sound = ~(out.negative[rows] | out.future[rows])
    out.nanoseconds[rows[sound]] = (whole * factors + billionths * factors // 10**9)[sound]


def _take(out: Instants, rows: Ints, parsed: "pd.Series[pd.Timestamp]", latest: int) -> None:
    """Dates at some rows."""
    missing = parsed.isna().to_numpy()
    seconds = parsed.dt.as_unit("s").astype("int64").to_numpy()
    far = ~missing & (np.abs(seconds) > _LARGEST // 10**9)  # no nanoseconds count as far as a date can be
    nanoseconds = parsed.mask(far).dt.as_unit("ns").astype("int64").to_numpy()
    out.missing[rows] = missing
    out.negative[rows] = ~missing & np.where(far, seconds < 0, nanoseconds < 0)
    out.future[rows] = ~missing & np.where(far, seconds > 0, nanoseconds > latest)
    out.nanoseconds[rows] = np.where(out.usable[rows], nanoseconds, 0)
