"""What a rule has to say."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from studies.preflight.rules import RULES


class Level(StrEnum):
    """An error is not run; a warning is run, unless `--strict`; a note is for the record."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One line: the rule, the value given and the remedy.

    Attributes:
        rule: its name in `RULES`.
        says: what the rule asks for here.
        value: what was found instead; nothing where the rule says it.
        remedy: what to do.
    """

    rule: str
    level: Level
    says: str
    value: str
    remedy: str

    @property
    def source(self) -> str:
        """Who says so."""
        return RULES[self.rule].source

    @property
    def message(self) -> str:
        """The finding in one line."""
        return f"{self.what}: {self.remedy}"

    @property
    def what(self) -> str:
        """The rule and the value."""
        return f"{self.says}, not {self.value}" if self.value else self.says

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "rule": self.rule,
            "level": self.level.value,
            "message": self.message,
            "value": self.value,
            "remedy": self.remedy,
            "source": self.source,
        }
