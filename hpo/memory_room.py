"""Memory of this machine that trials have asked for, so that a 200M trial and four of 2M share it and two of 200M wait.

A reservation is a file in HPO_HOME with a lock that its worker holds: whatever way the worker ends, the kernel lets go
of it. Estimates count, not what is in use at the moment: a trial that has just begun has yet to grow.
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


@dataclass(frozen=True)
class Share:
    """Bytes of RAM, and of a GPU where there is one."""

    ram: int
    card: int = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(self.ram + other.ram, self.card + other.card)

    def holds(self, other: "Share") -> bool:
        """Return whether the other one is no larger in either."""
        return other.ram <= self.ram and other.card <= self.card


class Reservation:
    """What one trial may take, until it is released."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

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
        self, wanted: Share, usable: Callable[[], Share], at_least: Callable[[], Share] = lambda: Share(0)
    ) -> Reservation | None:
        """Reserve memory for a trial; None while there is no room beside the others. One alone always has room.

        Args:
            wanted: by the trial; one that wants nothing has room as well.
            usable: by all trials together; asked only where there are others.
            at_least: no more than that, quicker to be had; asked first.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with self._alone():
            others = list(self._reserved()) if wanted.ram or wanted.card else []
            together = sum(others, wanted)
            if others and not at_least().holds(together) and not usable().holds(together):
                return None
            # The lock has to outlast this call.
            file = NamedTemporaryFile("w", dir=self._directory, prefix="trial-", delete=False)  # noqa: SIM115
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(asdict(wanted)))
            file.flush()
            return Reservation(file)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _reserved(self) -> Iterator[Share]:
        for path in self._directory.glob("trial-*"):
            with suppress(FileNotFoundError, ValueError, TypeError), path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    yield Share(**json.load(file))
                else:
                    # Its worker is gone.
                    path.unlink()
