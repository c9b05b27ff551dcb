"""The command with a home of its own."""

from pathlib import Path

import pytest
from command import Command


@pytest.fixture
def hpo(home: Path, tmp_path: Path) -> Command:
    return Command(home, tmp_path)
