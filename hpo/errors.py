"""Wrong input to the service; the tree is drawn in `budgets.errors`."""

from budgets.errors import InputError


class StorageError(InputError):
    """The database cannot be used as given; the message never holds a password."""


class UnknownStudyError(StorageError):
    """No study of that name is in the storage."""


class StudyGoneError(StorageError):
    """The control schema knows the study, and Optuna's tables do not any more."""


class SpecDiffersError(StorageError):
    """A study of that name is stored with another specification."""


class PreflightError(InputError):
    """A study breaks a rule that would cost its trials: see `studies.preflight`."""


class ProgramFailedError(Exception):
    """A program of Postgres ended with an error: no input that could be mended; one line, without the password."""

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(f"{program} failed ({reason}): mend that, and the same command begins again")
        self.reason = reason
