"""`hpo db`: the embedded Postgres."""

from cyclopts import App

from hpo.output import Json, Storage, complain, print_json, say

db = App(name="db", help="The embedded Postgres: its URL, start and stop.", help_format="plaintext")


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
