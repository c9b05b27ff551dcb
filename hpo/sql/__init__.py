"""The control schema's statements and migrations."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

from sqlalchemy import TextClause, text


@cache
def _statements() -> Mapping[str, str]:
    source = resources.files("hpo.sql").joinpath("queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", source, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@cache
def statement(name: str) -> TextClause:
    """Return the statement of that name in `queries.sql`."""
    return text(_statements()[name])
