"""Memory of this machine that trials have asked for, so that a 200M trial and four of 2M share it and two of 200M wait.

A reservation is a file in HPO_HOME with a lock that its worker holds: whatever way the worker ends, the kernel lets go
of it. Estimates count, not what is in use at the moment: a trial that has just begun has yet to grow.
"""

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


@dataclass(frozen=True)
class Share:
    """Bytes of RAM, and of a GPU where there is one."""

    ram: int
    card: int = 0


@dataclass(frozen=True)
class Usable:
    """What all trials together may take: bytes of RAM, and of each GPU by its identifier."""

    ram: int
    cards: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Taken:
    """What a trial has reserved, and on which GPU."""

    share: Share
    on: str | None = None


def card_for(wanted: Share, taken: Sequence[Taken], usable: Usable) -> str | None:
    """Return the GPU with the most room left, so that all of them compute; None where there is none."""
    left = {
        card: most - sum(each.share.card for each in taken if each.on == card) for card, most in usable.cards.items()
    }
    return max(left, key=lambda card: left[card], default=None) if wanted.card else None


def fits(wanted: Share, on: str | None, taken: Sequence[Taken], usable: Usable) -> bool:
    """Return whether a trial fits beside the others."""
    ram = wanted.ram + sum(each.share.ram for each in taken)
    card = wanted.card + sum(each.share.card for each in taken if each.on == on)
    return ram <= usable.ram and (on is None or card <= usable.cards[on])


class Reservation:
    """What one trial may take, until it is released.

    Attributes:
        card: the identifier of its GPU; None where it trains on the CPU.
    """

    def __init__(self, file: IO[str], card: str | None = None) -> None:
        self._file, self.card = file, card

    def release(self) -> None:
        """Let others have it."""
        with suppress(OSError):
            Path(self._file.name).unlink()
        self._file.close()


class MemoryRoom:
    """The reservations of all workers that share a home, on this machine."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "memory"

    def reserve(
        self, wanted: Share, usable: Callable[[], Usable], at_least: Callable[[], Usable] = lambda: Usable(0)
    ) -> Reservation | None:
        """Reserve memory for a trial; None while there is no room beside the others. One alone always has room.

        Args:
            wanted: by the trial; one that wants nothing has room as well.
            usable: by all trials together; asked only where there are others, or a GPU is to be chosen.
            at_least: no more than that, quicker to be had; asked first.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._alone():
            others = list(self._reserved()) if wanted.ram or wanted.card else []
            card = None
            for ask in (at_least, usable) if others or wanted.card else ():
                most = ask()
                card = card_for(wanted, others, most)
                if fits(wanted, card, others, most):
                    break
            else:
                if others:
                    return None
            # The lock has to outlast this call.
            file = NamedTemporaryFile("w", dir=self._directory, prefix="trial-", delete=False)  # noqa: SIM115
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps({**asdict(wanted), "on": card}))
            file.flush()
            return Reservation(file, card)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _reserved(self) -> Iterator[Taken]:
        for path in self._directory.glob("trial-*"):
            with suppress(FileNotFoundError, ValueError, KeyError, TypeError), path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    held = json.load(file)
                    yield Taken(Share(held["ram"], held["card"]), held.get("on"))
                else:
                    # Its worker is gone.
                    path.unlink()
