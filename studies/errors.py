"""Wrong input to a study; the tree is drawn in `budgets.errors`."""

from budgets.errors import InputError


class SpecError(InputError):
    """A study's specification cannot be run as written."""


class DataError(InputError):
    """Prices, features, labels or splits are not what the study needs."""


class EnsembleError(InputError):
    """An ensemble can't be read, or doesn't fit the prices that it is to predict."""


class CheckpointError(InputError):
    """A checkpoint can't be read, or doesn't fit where it is to go."""
