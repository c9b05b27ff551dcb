"""How many workers this machine takes, why, and what they would do: `hpo fleet plan`, and `--workers auto`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from budgets.errors import InputError
from budgets.memory import Calibration, calibrate
from budgets.placement import (
    HEAD_ROOM,
    SERVER_BYTES,
    Demand,
    Limit,
    Machine,
    Placement,
    place_workers,
    threads_a_worker,
    trials_an_hour,
    workers_that_fit,
)
from hpo.machine import read_machine
from hpo.trial_sizes import Search, TrialSize, peaks_of, trial_sizes
from studies.spec import Spec

_TAKEN_AWAY = 2
DEFAULT_SEARCH: Final = "default-budgets"
"""What is planned for where there is no study."""


@dataclass(frozen=True)
class FleetPlan:
    """Workers for a machine, and the reasons.

    Attributes:
        machine: as it was found.
        head_room: share of what is free that is planned with.
        studies: that are planned for; none: the default budgets.
        sizes: of their trials, the hungriest first.
        calibration: the constant of a trial's process on the CPU.
        limits: on workers any of which may get the hungriest trial, the binding one first.
        workers: that were asked for, else as many as fit, at least one.
        placement: of workers that keep to their sizes.
        an_hour: trials expected with all workers; None: unknown.
        an_hour_with_fewer: the same with two workers taken away.
        at_work: processes of this service that run here now, and whose memory counts as free.
    """

    machine: Machine
    head_room: float
    studies: tuple[str, ...]
    sizes: tuple[TrialSize, ...]
    calibration: Calibration
    limits: tuple[Limit, ...]
    workers: int
    placement: Placement
    an_hour: float | None
    an_hour_with_fewer: float | None
    at_work: int = 0

    @property
    def fitting(self) -> int:
        """Workers that fit; none where the hungriest trial is too large for this machine."""
        return self.limits[0].workers

    @property
    def threads(self) -> int:
        """Of each worker."""
        return threads_a_worker(self.machine.cores, self.workers)

    def as_json(self) -> dict[str, Any]:
        """Return the object that `hpo fleet plan --json` prints."""
        return {
            "machine": asdict(self.machine),
            "head_room": self.head_room,
            "server_bytes": SERVER_BYTES,
            "studies": list(self.studies),
            "sizes": [size.as_json() for size in self.sizes],
            "process": asdict(self.calibration),
            "limits": [asdict(limit) for limit in self.limits],
            "binding": self.limits[0].resource,
            "fitting": self.fitting,
            "workers": self.workers,
            "threads": self.threads,
            "places": [asdict(place) for place in self.placement.places],
            "left_out": list(self.placement.left_out),
            "trials_per_hour": self.an_hour,
            "trials_per_hour_with_two_fewer": self.an_hour_with_fewer,
            "processes_at_work": self.at_work,
        }


def plan_fleet(
    machine: Machine,
    searches: Sequence[Search],
    *,
    workers: int | None = None,
    head_room: float = HEAD_ROOM,
    card_bytes: Mapping[str, int] | None = None,
    at_work: int = 0,
) -> FleetPlan:
    """Return how many workers fit a machine, which limit binds and what they would do.

    Args:
        machine: from `hpo.machine.read_machine`.
        searches: the studies that are worked on, at least one.
        workers: how many there will be, whatever fits; default: as many as fit.
        head_room: share of what is free that is planned with.
        card_bytes: of a trial on the cards, measured, by budget; in place of the estimates.
        at_work: how many processes of this service count as free already.
    """
    calibration = calibrate(peaks_of(searches))
    sizes = trial_sizes(searches, calibration, on_cards=bool(machine.cards), card_bytes=card_bytes)
    demands = [size.demand for size in sizes]
    limits = workers_that_fit(machine, _hungriest(demands), head_room)
    chosen = max(1, limits[0].workers) if workers is None else workers
    return FleetPlan(
        machine=machine,
        head_room=head_room,
        studies=tuple(search.spec.name for search in searches),
        sizes=sizes,
        calibration=calibration,
        limits=limits,
        workers=chosen,
        placement=place_workers(machine, demands, workers, head_room),
        an_hour=trials_an_hour(machine.cores, chosen, demands),
        an_hour_with_fewer=trials_an_hour(machine.cores, max(0, chosen - _TAKEN_AWAY), demands),
        at_work=at_work,
    )


def automatic_workers(searches: Sequence[Search]) -> int:
    """Return how many workers `--workers auto` starts on this machine, beside whatever runs on it; at least one."""
    machine = read_machine()
    return plan_fleet(machine, searches).workers if searches else machine.cores


def _hungriest(demands: Sequence[Demand]) -> Demand:
    """Return what a worker needs that may get any of these trials."""
    return Demand(
        name=max(demands, key=lambda each: each.ram_bytes + each.card_bytes).name,
        trials=sum(each.trials for each in demands),
        ram_bytes=max(each.ram_bytes for each in demands),
        card_bytes=max(each.card_bytes for each in demands),
    )


def one_if_safe(specs: Iterable[Spec], workers: int | None) -> int | None:
    """Return how many workers to start for these studies: one where any is in mode safe, whose trials run alone.

    Raises:
        InputError: more were asked for.
    """
    if all(spec.mode != "safe" for spec in specs):
        return workers
    if workers is not None and workers > 1:
        raise InputError(f"mode safe runs one worker, not {workers}: leave --workers out, or run it in mode fast")
    return 1 if workers is None else workers
