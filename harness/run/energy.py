"""Energy and CO2 of trainings and runs, by codecarbon's offline tracker. On request only; nothing is sent anywhere."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Literal, Self

from harness.errors import HarnessError, one_line
from harness.results.record import EnergyRecord

_Part = Literal["cpu", "gpu", "ram"]

#: Ways in which codecarbon reads a meter of the processor; in others it multiplies load by a model's power.
_CPU_METERS = frozenset({"intel_rapl", "intel_power_gadget", "windows_emi"})
_MEASURE_EVERY_S = 15


@dataclass(frozen=True)
class EnergyTracking:
    """How energy is tracked.

    Attributes:
        country: ISO 3166-1 alpha-3 code of the country whose electricity is used; None: no CO2 is computed.
        alone: whether one process works at a time. With several, meters of the whole processor are not used: the
            load of each process is.
    """

    country: str | None = None
    alone: bool = True


def energy_tracking(country: str | None) -> EnergyTracking:
    """How energy is tracked, once it is known that it can be.

    Raises:
        HarnessError: codecarbon is not installed, or it knows no such country.
    """
    if find_spec("codecarbon") is None:
        raise HarnessError("Energy is tracked by codecarbon, which is not installed.", "Run: pip install codecarbon.")
    if country is not None:
        from codecarbon.input import DataSource

        known = DataSource().get_global_energy_mix_data()
        if country.upper() not in known:
            raise HarnessError(
                f"--country {country!r} is no country whose electricity codecarbon knows.",
                "Give its ISO 3166-1 alpha-3 code, such as DEU or USA.",
            )
    return EnergyTracking(country.upper() if country else None)


def energy_line(tracking: EnergyTracking) -> str:
    """What is measured on this machine and what is estimated, for people; from a short trial."""
    with EnergyMeter(tracking) as meter:
        pass
    record = meter.record
    if record is None:
        return f"  energy:   not tracked: {meter.failure}"
    estimated, shared = ", ".join(record.estimated) or "nothing", ", ".join(record.shared) or "nothing"
    return f"  energy:   by {record.tracker}; estimated by a model: {estimated}; of the whole machine: {shared}"


class EnergyMeter:
    """Tracks the energy of this process while a block runs. A tracker that fails costs the record, never the block.

    Args:
        tracking: how; None: nothing is tracked.

    Attributes:
        record: what was used, after the block; None if nothing was tracked.
        failure: why the tracker gave nothing, in one line; empty if it did.
    """

    def __init__(self, tracking: EnergyTracking | None) -> None:
        self._tracking = tracking
        self._tracker: Any = None
        self.record: EnergyRecord | None = None
        self.failure = ""

    def __enter__(self) -> Self:
        if self._tracking is not None:
            try:
                self._tracker = _started(self._tracking)
            except Exception as error:
                self.failure = one_line(f"{type(error).__name__}: {error}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracking is not None and self._tracker is not None:
            try:
                self._tracker.stop()
                self.record = _record(self._tracker, self._tracking)
            except Exception as failure:
                self.failure = one_line(f"{type(failure).__name__}: {failure}")


def _started(tracking: EnergyTracking) -> Any:
    from codecarbon import OfflineEmissionsTracker

    # It logs before it reads its own option.
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    # What a user's file .codecarbon.config could set otherwise, is set here: results must not depend on it.
    tracker = OfflineEmissionsTracker(
        country_iso_code=tracking.country,
        region=None,
        cloud_provider=None,
        tracking_mode="process",
        force_mode_cpu_load=not tracking.alone,
        force_cpu_power=None,
        force_ram_power=None,
        force_carbon_intensity_g_co2e_kwh=None,
        measure_power_secs=_MEASURE_EVERY_S,
        pue=1.0,
        output_methods=[],
        output_handlers=[],
        emissions_endpoint=None,
        allow_multiple_runs=True,
        log_level="critical",
    )
    # With a token in that file, it would ask a service for the carbon intensity of the hour.
    tracker._electricitymaps_api_token = None
    tracker.start()
    return tracker


def _record(tracker: Any, tracking: EnergyTracking) -> EnergyRecord:
    """The record of a stopped tracker."""
    used = tracker.final_emissions_data
    kinds = {type(part).__name__ for part in tracker._hardware}
    modes = {getattr(part, "_mode", "") for part in tracker._hardware}
    is_metered = not modes.isdisjoint(_CPU_METERS) or not kinds.isdisjoint({"AppleSiliconChip", "Raspberry"})
    shared: tuple[_Part, ...] = (*(("cpu",) if is_metered else ()), *(("gpu",) if used.gpu_energy else ()), "ram")
    return EnergyRecord(
        tracker=f"codecarbon {version('codecarbon')}",
        cpu_kwh=used.cpu_energy,
        gpu_kwh=used.gpu_energy,
        ram_kwh=used.ram_energy,
        estimated=("ram",) if is_metered else ("cpu", "ram"),
        shared=shared,
        seconds=round(used.duration, 3),
        country=tracking.country,
        co2_kg=used.emissions if tracking.country else None,
    )


def without(total: EnergyRecord | None, parts: Iterable[EnergyRecord]) -> EnergyRecord | None:
    """The energy of a block without that of parts of it which have records of their own."""
    if total is None:
        return None
    for part in parts:
        left = {name: max(0.0, getattr(total, name) - getattr(part, name)) for name in _SUMS}
        co2 = None if total.co2_kg is None or part.co2_kg is None else max(0.0, total.co2_kg - part.co2_kg)
        total = total.model_copy(update={**left, "co2_kg": co2})
    return total


#: Fields that add up over pieces of work.
_SUMS = ("cpu_kwh", "gpu_kwh", "ram_kwh", "seconds")
