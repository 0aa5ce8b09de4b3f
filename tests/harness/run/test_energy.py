"""Energy of trainings and runs: recorded on request, and never a reason for a run to fail."""

import json
import socket
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from rich.console import Console
from typer.testing import CliRunner

import harness.run.energy
from harness.cli.app import app
from harness.errors import HarnessError
from harness.methods.api import NoSettings
from harness.methods.artefact import Artefact
from harness.results.files import read_record
from harness.results.record import EnergyRecord
from harness.run.energy import EnergyMeter, EnergyTracking, energy_line, energy_tracking, without
from harness.training.record import TrainingRecord
from tests.harness.report.test_leaderboard import Fixed


class CPU:
    def __init__(self, mode: str) -> None:
        self._mode = mode


class Tracker:
    """Stands in for codecarbon's: uses one kWh of CPU, and one for each tracker that starts while it runs."""

    started: ClassVar[list["Tracker"]] = []
    mode: ClassVar[str] = "cpu_load"
    gpu_kwh: ClassVar[float] = 0.0
    fails_in: ClassVar[str] = ""

    def __init__(self, **options: Any) -> None:
        self._fail("init")
        self.options, self._electricitymaps_api_token = options, "from the user's file"
        self._hardware = [CPU(self.mode)]
        self.is_stopped = False

    def start(self) -> None:
        self._fail("start")
        self.place = len(self.started)
        self.started.append(self)

    def stop(self) -> None:
        self._fail("stop")
        self.is_stopped = True
        self.final_emissions_data = SimpleNamespace(
            cpu_energy=float(len(self.started) - self.place),
            gpu_energy=self.gpu_kwh,
            ram_energy=0.5,
            emissions=3.0,
            duration=7.0,
        )

    def _fail(self, where: str) -> None:
        if self.fails_in == where:
            raise OSError(f"no {where}\nhere")


@pytest.fixture
def codecarbon(monkeypatch: pytest.MonkeyPatch) -> type[Tracker]:
    """A codecarbon that knows the trackers above and Germany."""
    package, data = ModuleType("codecarbon"), ModuleType("codecarbon.input")
    package.__spec__ = ModuleSpec("codecarbon", None)
    package.OfflineEmissionsTracker = Tracker  # type: ignore[attr-defined]
    source = SimpleNamespace(get_global_energy_mix_data=lambda: {"DEU": {}})
    data.DataSource = lambda: source  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "codecarbon", package)
    monkeypatch.setitem(sys.modules, "codecarbon.input", data)
    monkeypatch.setattr(harness.run.energy, "version", lambda name: "9.9")
    monkeypatch.setattr(Tracker, "started", [])
    return Tracker


def measured(tracking: EnergyTracking) -> EnergyRecord:
    with EnergyMeter(tracking) as meter:
        pass
    assert meter.record is not None, meter.failure
    return meter.record


def test_what_no_meter_was_read_for_is_marked_as_estimated(codecarbon, monkeypatch: pytest.MonkeyPatch) -> None:
    record = measured(EnergyTracking("DEU"))
    assert (record.estimated, record.shared) == (("cpu", "ram"), ("ram",))
    assert (record.tracker, record.country, record.co2_kg, record.seconds) == ("codecarbon 9.9", "DEU", 3.0, 7.0)
    assert record.kwh == 1.5
    monkeypatch.setattr(Tracker, "mode", "intel_rapl")
    monkeypatch.setattr(Tracker, "gpu_kwh", 2.0)
    record = measured(EnergyTracking())
    assert (record.estimated, record.shared) == (("ram",), ("cpu", "gpu", "ram"))
    assert (record.country, record.co2_kg, record.gpu_kwh) == (None, None, 2.0)
    line = energy_line(EnergyTracking())
    assert line == "  energy:   by codecarbon 9.9; estimated by a model: ram; of the whole machine: cpu, gpu, ram"


def test_the_tracker_has_no_way_out(codecarbon) -> None:
    measured(EnergyTracking("DEU", alone=False))
    (tracker,) = codecarbon.started
    assert tracker._electricitymaps_api_token is None
    expected = {"emissions_endpoint": None, "output_methods": [], "output_handlers": [], "tracking_mode": "process"}
    assert expected.items() <= tracker.options.items()
    # With other processes beside it, the meter of the whole processor would count theirs too.
    assert tracker.options["force_mode_cpu_load"]
    measured(EnergyTracking("DEU", alone=True))
    assert not codecarbon.started[1].options["force_mode_cpu_load"]


@pytest.mark.parametrize("where", ["init", "start", "stop"])
def test_a_tracker_that_fails_costs_the_record_alone(codecarbon, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(Tracker, "fails_in", where)
    done = []
    with EnergyMeter(EnergyTracking()) as meter:
        done.append(1)
    assert done
    assert (meter.record, meter.failure) == (None, f"OSError: no {where} here")
    assert energy_line(EnergyTracking()) == f"  energy:   not tracked: OSError: no {where} here"


def test_an_error_in_the_block_passes_and_stops_the_tracker(codecarbon) -> None:
    with pytest.raises(KeyError), EnergyMeter(EnergyTracking()):
        raise KeyError
    assert codecarbon.started[0].is_stopped


def test_nothing_is_imported_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)  # to import it is an error
    with EnergyMeter(None) as meter:
        pass
    assert (meter.record, meter.failure) == (None, "")


def test_wrong_requests_are_refused_before_anything_runs(codecarbon, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert energy_tracking("deu") == EnergyTracking("DEU")
    with pytest.raises(HarnessError, match="--country 'Mars' is no country"):
        toy.run("popularity", energy=True, country="Mars")
    monkeypatch.setattr(harness.run.energy, "find_spec", lambda name: None)
    with pytest.raises(HarnessError, match=r"codecarbon, which is not installed\. Run: pip install codecarbon"):
        toy.run("popularity", energy=True)
    with pytest.raises(HarnessError, match=r"Add --energy\."):
        CliRunner().invoke(app, ["run", "--suite", "cdsr", "--country", "DEU"], catch_exceptions=False)
    assert not toy.out.exists()


def make(folder: Path, context: Any) -> TrainingRecord:
    (folder / "weights").write_text("1")
    return TrainingRecord((0.1,), 1, 1, 1, {})


@dataclass(frozen=True)
class Trained(Fixed):
    """A method with one artefact, which it names before or trains unannounced."""

    is_planned: bool = True
    settings: NoSettings = field(default_factory=NoSettings)

    def artefacts(self, data, budget, seed):
        return [self.artefact] if self.is_planned else []

    @property
    def artefact(self) -> Artefact:
        return Artefact("toy", f"toy {self.is_planned}", {"planned": self.is_planned}, make)

    def fit(self, data, context):
        context.artefacts.get_or_train(self.artefact)
        return super().fit(data, context)


def result_of(toy, method: str):
    return read_record(toy.out / "results" / "toy" / "v1" / "left-from-right" / f"{method}-seed0.json")


def run_one(toy, *methods: str, **options: Any) -> None:
    toy.run(*methods, seeds=(0,), scenarios=["left-from-right"], **options)


def test_trainings_and_runs_have_records_of_their_own(codecarbon, toy) -> None:
    toy.add("planned", Trained)
    toy.add("unplanned", partial(Trained, is_planned=False))
    lines: list[str] = []
    console = Console(quiet=True)
    console.print = lambda line, **_: lines.append(str(line))  # type: ignore[method-assign,assignment]
    run_one(toy, "planned", "unplanned", energy=True, country="DEU", console=console)
    assert [line for line in lines if "estimated by a model: cpu, ram" in line]
    planned, unplanned = result_of(toy, "planned"), result_of(toy, "unplanned")
    assert None not in (planned.cost.artefacts[0].energy, planned.cost.energy)
    # The run of `unplanned` was tracked while its artefact was, whose energy is taken out of it.
    (artefact,) = unplanned.cost.artefacts
    assert artefact.energy is not None
    assert unplanned.cost.energy is not None
    assert (artefact.energy.cpu_kwh, unplanned.cost.energy.cpu_kwh) == (1.0, 1.0)
    assert (artefact.energy.seconds, unplanned.cost.energy.seconds) == (7.0, 0.0)
    assert artefact.hardware is not None
    assert artefact.device == "cpu"
    assert int(artefact.hardware["threads"]) >= 1


def test_cached_trainings_keep_their_records(codecarbon, toy) -> None:
    toy.add("planned", Trained)
    run_one(toy, "planned", energy=True)
    first = result_of(toy, "planned")
    run_one(toy, "planned", keep_lists=False)  # another run of the same artefact, which tracks nothing
    second = result_of(toy, "planned")
    assert second.cost.artefacts == first.cost.artefacts
    assert second.cost.energy is None
    assert len(codecarbon.started) == 3  # the trial, the training and the run
    assert first.content_digest() != ""


def test_nothing_is_recorded_by_default(toy) -> None:
    toy.add("planned", Trained)
    run_one(toy, "planned")
    path = toy.out / "results" / "toy" / "v1" / "left-from-right" / "planned-seed0.json"
    cost = json.loads(path.read_text())["cost"]
    assert "energy" not in cost
    assert "energy" not in cost["artefacts"][0]


def test_parts_are_taken_out_of_a_whole(codecarbon) -> None:
    whole = measured(EnergyTracking("DEU")).model_copy(update={"cpu_kwh": 5.0})
    part = whole.model_copy(update={"cpu_kwh": 1.25, "seconds": 2.0, "co2_kg": 1.0})
    rest = without(whole, [part, part])
    assert rest is not None
    assert (rest.cpu_kwh, rest.ram_kwh, rest.seconds, rest.co2_kg) == (2.5, 0.0, 3.0, 1.0)
    assert without(None, [part]) is None
    assert without(whole, []) == whole


def test_codecarbon_measures_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd) -> None:
    pytest.importorskip("codecarbon", reason="needs the extra `energy`")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".codecarbon.config").write_text("[codecarbon]\nco2_signal_api_token = x\nsave_to_api = true\n")

    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"network: {arguments}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    with EnergyMeter(energy_tracking("DEU")) as meter:
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            pass
    record = meter.record
    assert record is not None, meter.failure
    assert record.cpu_kwh > 0
    assert 2.4 < record.seconds < 60
    assert record.co2_kg is not None
    # Germany's electricity is between 200 and 600 g a kWh.
    assert 0.2 < record.co2_kg / record.kwh < 0.6
    assert list(tmp_path.iterdir()) == [tmp_path / ".codecarbon.config"]
    assert capfd.readouterr() == ("", "")
    with pytest.raises(HarnessError, match="--country 'XXX'"):
        energy_tracking("XXX")
