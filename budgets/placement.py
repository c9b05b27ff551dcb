"""How many workers fit a machine, which limit binds, and which of them may train which budgets.

Every trial is a fork of one server, so the machine holds the server once, and each worker and trial only what is
their own. Sizes that differ a hundredfold share a machine: the largest get their places first, the others fill up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from budgets.memory import MIB

HEAD_ROOM: Final = 0.8
"""Share of what is free that is planned with, of RAM and cards: 75 to 80 %, the rest is for peaks and the display."""

SERVER_BYTES: Final = 500 * MIB
"""Of the fork server with torch and NeuralForecast loaded, and of the broker: once a machine."""

WORKER_BYTES: Final = 20 * MIB
"""A worker's own memory, beside its trial's."""


@dataclass(frozen=True)
class Card:
    """One GPU: its memory, and what others than this service's trials use of it."""

    name: str
    total_bytes: int
    used_bytes: int = 0


@dataclass(frozen=True)
class Machine:
    """What there is to plan with.

    Attributes:
        cores: that this process may use.
        total_bytes: of RAM.
        available_bytes: of RAM that this service may take.
        cards: the GPUs.
        mps: whether several processes compute on a card at once; else they take turns, each with the whole card.
    """

    cores: int
    total_bytes: int
    available_bytes: int
    cards: tuple[Card, ...] = ()
    mps: bool = False


@dataclass(frozen=True)
class Demand:
    """What a trial of one size needs.

    Attributes:
        name: of the size, such as 2M.
        trials: how many are expected still; decides how the places are shared out.
        ram_bytes: a trial's own.
        card_bytes: a trial's on a GPU, where there is one.
        core_seconds: threads times seconds of a trial; None: unknown.
    """

    name: str
    trials: float
    ram_bytes: int
    card_bytes: int = 0
    core_seconds: float | None = None


@dataclass(frozen=True)
class Limit:
    """How many workers one resource allows: `available` of it divided by what `a_worker` takes."""

    resource: str
    workers: int
    available: int
    a_worker: int


@dataclass(frozen=True)
class Place:
    """One worker: the sizes that it may train, the largest first, and its card, counted from 0."""

    sizes: tuple[str, ...]
    ram_bytes: int
    card: int | None = None
    card_bytes: int = 0


@dataclass(frozen=True)
class Placement:
    """Workers side by side on one machine, and the sizes that fit it not even alone."""

    places: tuple[Place, ...]
    left_out: tuple[str, ...]


def usable_ram(machine: Machine, head_room: float = HEAD_ROOM) -> int:
    """Return the bytes of RAM for workers and trials: the head-room and the server taken off."""
    return max(0, int(machine.available_bytes * head_room) - SERVER_BYTES)


def usable_card(card: Card, head_room: float = HEAD_ROOM) -> int:
    """Return the bytes of a card for trials: a share of all of it, less what others use already."""
    return max(0, int(card.total_bytes * head_room) - card.used_bytes)


def workers_that_fit(machine: Machine, largest: Demand, head_room: float = HEAD_ROOM) -> tuple[Limit, ...]:
    """Return how many workers each resource allows, the binding one first, when all train the largest size at once."""
    own = largest.ram_bytes + WORKER_BYTES
    ram = usable_ram(machine, head_room)
    limits = [Limit("RAM", ram // own, ram, own), Limit("cores", machine.cores, machine.cores, 1)]
    if machine.cards and largest.card_bytes:
        rooms = [usable_card(card, head_room) for card in machine.cards]
        fitting = sum(room // largest.card_bytes for room in rooms)
        limits.append(Limit("GPU memory", fitting, sum(rooms), largest.card_bytes))
    return tuple(sorted(limits, key=lambda limit: limit.workers))


def place_workers(
    machine: Machine, demands: Sequence[Demand], workers: int | None = None, head_room: float = HEAD_ROOM
) -> Placement:
    """Share a machine out among sizes: one place for each that fits, the largest first, then where most work is left.

    Args:
        machine: to share out.
        demands: of all sizes.
        workers: how many at most; default: a core each.
        head_room: share of what is free that is used.
    """
    room = _Room(machine, head_room)
    by_size = sorted(demands, key=lambda demand: (demand.ram_bytes, demand.card_bytes), reverse=True)
    # Alone on the empty machine; what is left out may still not fit beside the others.
    left_out = tuple(demand.name for demand in by_size if not _Room(machine, head_room).fits(demand))
    fitting = [demand for demand in by_size if demand.name not in left_out]
    most = machine.cores if workers is None else workers
    given = dict.fromkeys((demand.name for demand in fitting), 0)
    places: list[Place] = []
    for demand in fitting:
        if len(places) < most and room.fits(demand):
            places.append(room.take(demand, fitting))
            given[demand.name] += 1
    while len(places) < most:
        wanting = [each for each in fitting if given[each.name] < max(1, each.trials) and room.fits(each)]
        if not wanting:
            break
        neediest = max(wanting, key=lambda each: _work(each) / (1 + given[each.name]))
        places.append(room.take(neediest, fitting))
        given[neediest.name] += 1
    return Placement(tuple(places), left_out)


def trials_an_hour(cores: int, workers: int, demands: Sequence[Demand]) -> float | None:
    """Return how many trials end in an hour, at the mix that is left; None where a duration is unknown.

    Each worker has cores // workers threads, and a trial takes its core-seconds whatever their number: exact for
    equal threads, else the most that can be hoped for.
    """
    trials = sum(demand.trials for demand in demands)
    known = [demand.trials * demand.core_seconds for demand in demands if demand.core_seconds is not None]
    if len(known) < len(demands) or trials == 0 or sum(known) == 0:
        return None
    if workers < 1:
        return 0.0
    in_use = min(cores, workers * threads_a_worker(cores, workers))
    return 3600 * in_use * trials / sum(known)


def threads_a_worker(cores: int, workers: int) -> int:
    """Return the threads of each worker: the cores shared out, at least one."""
    return max(1, cores // max(1, workers))


def _work(demand: Demand) -> float:
    return demand.trials * (demand.core_seconds or 1.0)


class _Room:
    """What is still free while places are given out."""

    def __init__(self, machine: Machine, head_room: float) -> None:
        self._ram = usable_ram(machine, head_room)
        self._cards = [usable_card(card, head_room) for card in machine.cards]

    def fits(self, demand: Demand) -> bool:
        return demand.ram_bytes + WORKER_BYTES <= self._ram and (not self._cards or self._card(demand) is not None)

    def take(self, demand: Demand, demands: Sequence[Demand]) -> Place:
        """Give a place to a size; smaller ones may use it too."""
        self._ram -= demand.ram_bytes + WORKER_BYTES
        card = self._card(demand) if self._cards else None
        if card is not None:
            self._cards[card] -= demand.card_bytes
        sizes = tuple(
            each.name for each in demands if each.ram_bytes <= demand.ram_bytes and each.card_bytes <= demand.card_bytes
        )
        return Place(sizes, demand.ram_bytes, card, demand.card_bytes if self._cards else 0)

    def _card(self, demand: Demand) -> int | None:
        """Return the fullest card that the trial still fits: the emptier ones stay free for larger trials."""
        fitting = [i for i, room in enumerate(self._cards) if demand.card_bytes <= room]
        return min(fitting, key=lambda i: self._cards[i], default=None)
