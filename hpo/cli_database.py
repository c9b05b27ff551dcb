"""`hpo db`: the embedded Postgres, and backups and upgrades of any."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from hpo.output import Json, Storage, complain, print_json, say

db = App(
    name="db",
    help="The embedded Postgres: its URL, start and stop; backups and upgrades of any storage.",
    help_format="plaintext",
)


@db.command
def url(*, storage: Storage = None, json_output: Json = False) -> int:
    """Print the storage's URL, alone on the last line; the embedded server is kept until `hpo db stop`.

    optuna-dashboard "$(hpo db url | tail -n 1)"
    """
    from hpo import embedded
    from hpo.settings import load_settings
    from hpo.storage import masked, parse_storage_url

    settings = load_settings()
    given = storage or settings.storage
    if given is not None:
        shown = masked(parse_storage_url(given))
    else:
        embedded.keep(settings.home)
        complain("the embedded Postgres is kept running: `hpo db stop` ends it")
        shown = embedded.url(settings.home)
    print_json({"url": shown}) if json_output else say(shown)
    return 0


@db.command
def start(*, json_output: Json = False) -> int:
    """Start the embedded Postgres and keep it until `hpo db stop`.

    hpo db start
    """
    from hpo import embedded
    from hpo.settings import load_settings

    home = load_settings().home
    embedded.keep(home)
    shown = embedded.url(home)
    print_json({"url": shown}) if json_output else say(f"the embedded Postgres runs until `hpo db stop`\n{shown}")
    return 0


@db.command(name="stop")
def stop_database(*, json_output: Json = False) -> int:
    """Stop the embedded Postgres, or let it stop when its last user leaves.

    hpo db stop
    """
    from hpo import embedded
    from hpo.settings import load_settings

    released = embedded.release(load_settings().home)
    print_json({"state": released.value}) if json_output else say(f"the embedded Postgres: {released.value}")
    return 0


@db.command
def backup(
    file: Path,
    /,
    *,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Write all studies and trials into one file, while workers work; `hpo db restore` reads it.

    hpo db backup studies.dump

    Args:
        file: The new file; other users of this machine can't read it.
        overwrite: Replace a file that exists, once the new one is whole.
    """
    from hpo import backup as backups
    from hpo.settings import load_settings

    with _clean_end():
        saved = backups.save(load_settings(), storage, file, overwrite=overwrite)
    size = file.expanduser().stat().st_size
    found = {"file": str(file), "bytes": size, "studies": saved.studies, "trials": saved.trials}
    said = f"{file}: {_count(saved.studies, 'study', 'studies')}, {_count(saved.trials, 'trial')}, {size:,} bytes"
    print_json(found) if json_output else say(said)
    return 0


@db.command
def restore(file: Path, /, *, storage: Storage = None, json_output: Json = False) -> int:
    """Read a backup into an empty storage: all of it, or nothing.

    hpo db restore studies.dump

    Args:
        file: What `hpo db backup` has written, with this version of hpo or an older one.
    """
    from dataclasses import asdict

    from hpo import backup as backups
    from hpo.settings import load_settings

    with _clean_end():
        found = backups.load(load_settings(), storage, file)
    if json_output:
        print_json({"file": str(file), **asdict(found)})
        return 0
    say(f"{file}: {_count(found.studies, 'study', 'studies')} and {_count(found.trials, 'trial')} are restored")
    if found.running:
        were = "trial was" if found.running == 1 else "trials were"
        say(f"{found.running} {were} under way in the backup: `hpo reap`, or the next worker, begins again with them")
    return 0


@db.command
def upgrade(*, storage: Storage = None, json_output: Json = False) -> int:
    """Bring a storage that an older hpo or Optuna has made to the versions installed here.

    hpo db upgrade
    """
    from dataclasses import asdict

    from hpo.settings import load_settings
    from hpo.storage import open_storage
    from hpo.upgrade import upgrade as bring_up

    with open_storage(load_settings(), storage) as opened:
        done = bring_up(opened)
    if json_output:
        print_json(asdict(done))
        return 0
    for name, change in (("the control schema", done.control), ("Optuna's tables", done.optuna)):
        same = change.before == change.after
        say(f"{name}: {change.after}, unchanged" if same else f"{name}: {change.before or 'none'} → {change.after}")
    return 0


@contextmanager
def _clean_end() -> Iterator[None]:
    """Let a service manager's signal end the command as Ctrl-C does: what is half done is removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
