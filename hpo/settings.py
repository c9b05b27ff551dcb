"""Settings from the environment: the one place where `os.environ` is read."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from budgets.errors import InputError

BEAT_SECONDS = 5.0
LOST_AFTER_SECONDS = 60.0
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Settings:
    """What the environment says about this machine.

    Attributes:
        home: folder of the embedded Postgres and of the service's files; `HPO_HOME`.
        storage: URL of a Postgres, or None for the embedded one; `HPO_STORAGE`. It may hold a password, so
            the representation leaves it out.
        beat_seconds: how often a worker says that it is alive; `HPO_BEAT_SECONDS`.
        lost_after_seconds: silence after which a worker counts as lost; `HPO_LOST_AFTER_SECONDS`.
        poll_seconds: how often an idle worker looks for work; `HPO_POLL_SECONDS`.
    """

    home: Path
    storage: str | None = field(default=None, repr=False)
    beat_seconds: float = BEAT_SECONDS
    lost_after_seconds: float = LOST_AFTER_SECONDS
    poll_seconds: float = POLL_SECONDS


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings; a variable that is unset or empty takes its default.

    Raises:
        InputError: a number is not a positive one, or a worker would be lost between two of its beats.
    """
    settings = Settings(
        home=_home(environ),
        storage=environ.get("HPO_STORAGE") or None,
        beat_seconds=_seconds(environ, "HPO_BEAT_SECONDS", BEAT_SECONDS),
        lost_after_seconds=_seconds(environ, "HPO_LOST_AFTER_SECONDS", LOST_AFTER_SECONDS),
        poll_seconds=_seconds(environ, "HPO_POLL_SECONDS", POLL_SECONDS),
    )
    if settings.lost_after_seconds <= settings.beat_seconds:
        raise InputError(
            f"HPO_LOST_AFTER_SECONDS must be more than HPO_BEAT_SECONDS ({settings.beat_seconds:g}), "
            f"not {settings.lost_after_seconds:g}: several beats, such as {12 * settings.beat_seconds:g}"
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


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"{name} must be a positive number of seconds, not {text!r}: write {default:g} or unset it")
    return value
