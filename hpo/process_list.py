"""Keeping a password on the command line out of the process list, where every user of the machine reads it.

The command replaces itself by one whose URL holds no password. That goes on in `PGPASSWORD`, which libpq takes for a
URL without one, and which only the same user can read. It does so before anything else is imported: what takes half
a second to load would be half a second in which the password can be read.
"""

import os
import sys

from hpo.masking import passwords_in, without_passwords

_TWO = (
    "one password at most can leave the command line, and two URLs hold different ones: put the storage's URL into "
    "HPO_STORAGE, with its password or with HPO_STORAGE_PASSWORD_FILE"
)


def leave_the_process_list() -> None:
    """Start this command again without the password, if its arguments hold one; else return at once.

    With two different ones it exits with code 2: libpq takes one alone.
    """
    arguments, password = without_passwords(sys.orig_argv)
    if arguments == sys.orig_argv:
        return
    if len(passwords_in(sys.orig_argv)) > 1:
        sys.stderr.write(f"{_TWO}\n")
        sys.exit(2)
    from hpo.settings import environment_with

    # As bytes: the terminal's encoding is not the one of passwords.
    given = {} if password is None else {"PGPASSWORD": password.encode(errors="surrogateescape")}
    # Python finds its virtual environment by its own path, which is not what was typed.
    os.execve(sys.executable, [sys.executable, *arguments[1:]], environment_with(given))  # noqa: S606
