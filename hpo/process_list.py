"""Keeping a password on the command line out of the process list, where every user of the machine reads it.

The command replaces itself by one whose URL holds no password. That goes on in `PGPASSWORD`, which libpq takes for a
URL without one, and which only the same user can read. It does so before anything else is imported: what takes half
a second to load would be half a second in which the password can be read.
"""

import os
import sys

from hpo.masking import without_passwords


def leave_the_process_list() -> None:
    """Start this command again without the password, if its arguments hold one; else return at once."""
    arguments, password = without_passwords(sys.orig_argv)
    if arguments == sys.orig_argv:
        return
    from hpo.settings import environment_with

    # As bytes: the terminal's encoding is not the one of passwords.
    given = {} if password is None else {"PGPASSWORD": password.encode(errors="surrogateescape")}
    # Python finds its virtual environment by its own path, which is not what was typed.
    os.execve(sys.executable, [sys.executable, *arguments[1:]], environment_with(given))  # noqa: S606
