"""What every command shares: its two options, and how it speaks."""

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from budgets.errors import InputError

Storage = Annotated[
    str | None,
    Parameter(
        help="URL of any Postgres; default: HPO_STORAGE, else the embedded one. A password is "
        "safer in HPO_STORAGE, where the process list does not show it."
    ),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object; messages go to stderr.")]

# More processes than anybody means on one machine.
_MOST_WORKERS = 1000


def print_json(value: object) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))  # noqa: T201


def say(text: str) -> None:
    """Print a result on standard output."""
    print(text)  # noqa: T201


def complain(text: str) -> None:
    """Print a message on standard error."""
    print(text, file=sys.stderr)  # noqa: T201


def program(name: str = "hpo") -> str:
    """Return what to type for a program of this installation: its name, or its path where it is not on PATH."""
    beside = Path(sys.executable).parent / name
    if shutil.which(name) is not None or not beside.exists():
        return name
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def worker_count(text: str) -> int | None:
    """Return what `--workers` says; None is auto.

    Raises:
        InputError: it is neither a number from 0 to 1,000 nor auto.
    """
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and int(text) <= _MOST_WORKERS):
        raise InputError(
            f"--workers is a number from 0 to {_MOST_WORKERS:,} or auto, not {text!r}: leave it out for auto"
        )
    return int(text)


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 trial, 2 trials."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """Return a message without its line breaks."""
    return " ".join(text.split())
