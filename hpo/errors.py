"""Wrong input to the service; the tree is drawn in `budgets.errors`."""

from budgets.errors import InputError


class StorageError(InputError):
    """The database cannot be used as given; the message never holds a password."""


class UnknownStudyError(StorageError):
    """No study of that name is in the storage."""


class SpecDiffersError(StorageError):
    """A study of that name is stored with another specification."""
