"""Errors that the user can mend.

Every wrong input in this project is an `InputError`: one line that says the rule, the value given and the
remedy. The command line prints it and exits with code 2, and nothing has been written.

    InputError
    ├── BudgetError          budgets: an unknown or impossible parameter budget or architecture
    ├── SpecError            studies: a study's specification
    ├── DataError            studies: prices, features, labels, splits
    ├── CheckpointError      studies: a checkpoint that can't be read or doesn't fit
    ├── PreflightError       hpo: a study that breaks a rule; see `hpo check`
    └── StorageError         hpo: the database; UnknownStudyError and SpecDiffersError below it
"""


class InputError(ValueError):
    """The input is wrong; the message is one line: rule, value, remedy."""


class BudgetError(InputError):
    """A parameter budget or an architecture cannot be what was asked for."""
