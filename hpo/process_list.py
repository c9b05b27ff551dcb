"""Keeping a password on the command line out of the process list, where every user of the machine reads it.

The command replaces itself by one whose URL holds no password. That goes on in `PGPASSWORD`, which libpq takes for a
URL without one, and which only the same user can read.
"""

import os
import sys
from collections.abc import Sequence

from hpo.settings import environment_with


def leave_the_process_list() -> None:
    """Start this command again without the password, if its arguments hold one; else return at once."""
    arguments, password = without_password(sys.orig_argv)
    if password is not None:
        # As bytes: the terminal's encoding is not the one of passwords.
        os.execve(sys.executable, arguments, environment_with({"PGPASSWORD": password.encode()}))  # noqa: S606


def without_password(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the arguments with every storage URL stripped of its password, and the last password of them."""
    stripped, password = [], None
    for argument in arguments:
        option, value = ("--storage=", argument[10:]) if argument.startswith("--storage=") else ("", argument)
        if "://" in value:
            value, found = _split(value)
            password = found or password
        stripped.append(option + value)
    return stripped, password


def _split(text: str) -> tuple[str, str | None]:
    from sqlalchemy import URL

    from hpo.errors import StorageError
    from hpo.storage import parse_storage_url

    try:
        url = parse_storage_url(text)
    except StorageError:
        # It is refused in a moment, and shown masked.
        return text, None
    if not url.password:
        return text, None
    bare = URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)
    return bare.render_as_string(), str(url.password)
