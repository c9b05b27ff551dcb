"""An open storage with everything that looking at its studies takes; every command begins here."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hpo import control_schema, embedded
from hpo.control import Control
from hpo.errors import UnknownStudyError
from hpo.monitor import Status, read_status
from hpo.presence import is_dead
from hpo.records import StudyRecord
from hpo.settings import Settings
from hpo.storage import Storage, open_storage
from studies.declaration import declare
from studies.spec import Spec

if TYPE_CHECKING:
    from hpo.claims import Claims


@dataclass(frozen=True)
class Service:
    """An open storage; made by `open_service`."""

    storage: Storage
    settings: Settings

    @cached_property
    def control(self) -> Control:
        """The control schema."""
        return Control(self.storage.engine)

    def find(self, name: str) -> StudyRecord:
        """Return the study of that name.

        Raises:
            UnknownStudyError: there is none; the message names the nearest.
        """
        study = self.control.study(name)
        if study is None:
            raise unknown_study(name, self.control.study_names())
        return study

    def status(self, name: str) -> Status:
        """Return how the study stands now."""
        study = self.find(name)
        size_key = declare(Spec.model_validate(study.spec)).size_key
        return read_status(self.control, study, size_key, self.settings.lost_after_seconds)

    def claims(self, name: str, lost_after_seconds: float | None = None) -> "Claims":
        """Return what gives out the study's trials and takes them back.

        Args:
            name: of the study.
            lost_after_seconds: of silence, after which a worker counts as lost; default: as the settings say.
        """
        from hpo.claims import Claims

        lost_after = self.settings.lost_after_seconds if lost_after_seconds is None else lost_after_seconds
        return Claims(self.storage, self.find(name), lambda worker: is_dead(worker, lost_after), self.settings.home)


@contextmanager
def open_service(settings: Settings, storage_url: str | None) -> Iterator[Service]:
    """Open a storage, with the control schema made where there is none.

    Raises:
        StorageError: the control schema is of another version.
    """
    with open_storage(settings, storage_url) as storage:
        control_schema.migrate(storage.engine, upgrades=False)
        yield Service(storage, settings)


@contextmanager
def open_existing(settings: Settings, storage_url: str | None, name: str | None = None) -> Iterator[Service]:
    """Open a storage to look something up; an embedded server that was never used is not made for that."""
    if name is not None and is_untouched(settings, storage_url):
        raise unknown_study(name, [])
    with open_service(settings, storage_url) as service:
        yield service


def is_untouched(settings: Settings, storage_url: str | None) -> bool:
    """Return whether the storage is the embedded one and nobody has used it yet."""
    return storage_url is None and settings.storage is None and not embedded.exists(settings.home)


def unknown_study(name: str, names: Sequence[str]) -> UnknownStudyError:
    """Return the error for a study that is not there."""
    return UnknownStudyError(
        f"unknown study {name!r}: {nearest_names(name, names)}; `hpo status` lists all, `hpo run` makes one"
    )


def nearest_names(name: str, names: Sequence[str]) -> str:
    """Return which of these names somebody may have meant, in words."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
    return f"the nearest are {', '.join(close)}" if close else "there are none yet"
