"""Settings from the environment: the one place where `os.environ` is read."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import platformdirs

from budgets.errors import InputError

BEAT_SECONDS = 10.0
LOST_AFTER_SECONDS = 60.0
# Postgres wakes idle workers when there is work; looking is for what it cannot say, such as a death.
POLL_SECONDS = 30.0
GRACE_SECONDS = 30.0

_PASSWORD_FILE = "HPO_STORAGE_PASSWORD_FILE"  # noqa: S105  the name of a variable
_HAS_PASSWORD = re.compile(r"(?is)://[^@:/?#]*:[^@]*@|[?&]password=")
_USER = re.compile(r"(?s)(.*?://[^@:/?#]+)(@.*)")


@dataclass(frozen=True)
class Settings:
    """What the environment says about this machine.

    Attributes:
        home: folder of the embedded Postgres and of the service's files; `HPO_HOME`.
        storage: URL of a Postgres, or None for the embedded one; `HPO_STORAGE`, with the password that
            `HPO_STORAGE_PASSWORD_FILE` names. It may hold a password, so the representation leaves it out.
        beat_seconds: how often a worker says that it is alive; `HPO_BEAT_SECONDS`.
        lost_after_seconds: silence after which a worker counts as lost; `HPO_LOST_AFTER_SECONDS`.
        poll_seconds: how often an idle worker looks for work that nobody told it of; `HPO_POLL_SECONDS`.
        grace_seconds: what a trial has to end or to save itself in after SIGTERM; `HPO_GRACE_SECONDS`.
        trial_memory_mb: resident size, in MiB, that the process of a trial may reach, or None for no limit; one that
            needs more is run again with half the micro-batch; `HPO_TRIAL_MEMORY_MB`.
    """

    home: Path
    storage: str | None = field(default=None, repr=False)
    beat_seconds: float = BEAT_SECONDS
    lost_after_seconds: float = LOST_AFTER_SECONDS
    poll_seconds: float = POLL_SECONDS
    grace_seconds: float = GRACE_SECONDS
    trial_memory_mb: float | None = None


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; a variable that is unset or empty takes its default.

    Raises:
        InputError: a number is not a positive one, a worker would be lost between two of its beats, or there is
            no password where the environment says that there is one.
    """
    settings = Settings(
        home=_home(environ),
        storage=_storage(environ),
        beat_seconds=_seconds(environ, "HPO_BEAT_SECONDS", BEAT_SECONDS),
        lost_after_seconds=_seconds(environ, "HPO_LOST_AFTER_SECONDS", LOST_AFTER_SECONDS),
        poll_seconds=_seconds(environ, "HPO_POLL_SECONDS", POLL_SECONDS),
        grace_seconds=_seconds(environ, "HPO_GRACE_SECONDS", GRACE_SECONDS),
        trial_memory_mb=_positive(environ, "HPO_TRIAL_MEMORY_MB", "MiB, such as 4000"),
    )
    if settings.lost_after_seconds <= settings.beat_seconds:
        raise InputError(
            f"HPO_LOST_AFTER_SECONDS must be more than HPO_BEAT_SECONDS ({settings.beat_seconds:g}), "
            f"not {settings.lost_after_seconds:g}: several beats, such as {6 * settings.beat_seconds:g}"
        )
    return settings


def _home(environ: Mapping[str, str]) -> Path:
    given = environ.get("HPO_HOME")
    if not given:
        return Path(platformdirs.user_data_dir("hpo", appauthor=False))
    try:
        home = Path(given).expanduser()
    except RuntimeError:
        raise InputError(f"HPO_HOME must name a folder, not {given!r}: write its full path") from None
    if home.exists() and not home.is_dir():
        raise InputError(f"HPO_HOME must name a folder, not the file {given!r}: name another")
    return home


def _storage(environ: Mapping[str, str]) -> str | None:
    storage, file = environ.get("HPO_STORAGE") or None, environ.get(_PASSWORD_FILE)
    if not file:
        return storage
    # No message shows the URL: it is not known to be one yet, and may hold a password anywhere.
    if storage is None:
        raise InputError(
            f"{_PASSWORD_FILE} holds the password of a URL, and HPO_STORAGE is not set: "
            "set it to postgresql://USER@HOST:5432/DATABASE"
        )
    if _HAS_PASSWORD.search(storage):
        raise InputError(
            f"HPO_STORAGE must hold no password beside {_PASSWORD_FILE}, and holds one: "
            f"take it out of the URL, or unset {_PASSWORD_FILE}"
        )
    parts = _USER.fullmatch(storage)
    if parts is None:
        raise InputError(
            f"HPO_STORAGE must be the URL of a Postgres with the user whose password is in {_PASSWORD_FILE}, "
            "and names none: write postgresql://USER@HOST:5432/DATABASE"
        )
    return f"{parts[1]}:{quote(_password(file), safe='')}{parts[2]}"


def _password(file: str) -> str:
    try:
        password = Path(file).read_text(encoding="utf-8").partition("\n")[0]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{_PASSWORD_FILE} must name a readable file, {file!r} is not ({reason}): name another, or unset it"
        ) from None
    except UnicodeDecodeError:
        password, fault = "", "is not UTF-8"
    else:
        fault = "is empty" if not password else "holds a NUL" if "\0" in password else ""
    if fault:
        raise InputError(
            f"{_PASSWORD_FILE} must name a file with the password in its first line, that of {file!r} {fault}: "
            "write the password there"
        )
    return password


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    return _positive(environ, name, f"seconds, such as {default:g}") or default


def _positive(environ: Mapping[str, str], name: str, unit: str) -> float | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be a positive number of {unit}, not {text!r}: correct or unset it")
    return value


def environment_with(variables: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    """Return this process's environment with these variables as well, for a program that is started."""
    return {**os.environ, **variables}


def compute_on(card: str) -> None:
    """Have CUDA see this GPU alone, from the first time that this process uses it; what a person has set stays."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", card)
