"""The command line: parses, calls `hpo.app`, prints. Nothing heavy is imported here.

Exit codes: 0 done, 1 the work failed, 2 the input is wrong (one line, nothing written), 130 interrupted.
"""

import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress

from cyclopts import App, CycloptsError

from budgets.errors import InputError
from hpo.cli_batch import batch
from hpo.cli_check import check
from hpo.cli_checkpoints import compare, inspect
from hpo.cli_dashboard import dashboard
from hpo.cli_database import db
from hpo.cli_ensemble import ensemble, replay
from hpo.cli_import import import_
from hpo.cli_report import report
from hpo.cli_run import phase2, run
from hpo.cli_size import size
from hpo.cli_status import metrics, status
from hpo.cli_workers import fleet, reap, worker
from hpo.errors import ProgramFailedError
from hpo.fork_server import ForkFailedError
from hpo.masking import hide_arguments
from hpo.output import Json, Storage, complain, one_line, print_json, say
from hpo.process_list import leave_the_process_list

HELP = """Hyperparameter search for time-series transformers over parameter budgets.

Phase 1 trains the forced configurations, lets TPE explore the rest and stops when the search has converged.
Phase 2 searches the best budgets on. Workers on any machine take the trials; the dashboard shows them.

    hpo run quickstart
"""


def _version() -> str:
    from importlib.metadata import version

    return version("budget-hpo")


# Cyclopts would end an interrupted command in silence.
app = App(name="hpo", help=HELP, help_format="plaintext", version=_version, suppress_keyboard_interrupt=False)
_SEARCH = (run, phase2, worker, fleet, status, metrics, dashboard, reap, db)
_BEFORE = (size, batch, check, inspect, compare)
_AFTER = (report, ensemble, replay)
for command in (*_SEARCH, *_BEFORE, *_AFTER):
    app.command(command)
app.command(import_, name="import")


@app.command
def stop(study: str, /, *, storage: Storage = None, json_output: Json = False) -> int:
    """Give out no more trials of a study; those under way end normally.

    hpo stop quickstart
    """
    from hpo import app as service
    from hpo.settings import load_settings

    found = service.stop(load_settings(), storage, study)
    said = f"{study} is {found.study.state.value}; `hpo resume {study}` lets it go on"
    print_json(found.as_json()) if json_output else say(said)
    return 0


@app.command
def resume(study: str, /, *, trials: int | None = None, storage: Storage = None, json_output: Json = False) -> int:
    """Let a stopped, converged or finished study give out trials again; convergence stays overridden.

    hpo resume quickstart --trials 40

    Args:
        study: The study's name.
        trials: A new cap on the whole study.
    """
    from hpo import app as service
    from hpo.settings import load_settings

    found = service.resume(load_settings(), storage, study, trials)
    said = f"{study} is running again with a cap of {found.counts.cap}; `hpo worker --study {study}` works on it"
    print_json(found.as_json()) if json_output else say(said)
    return 0


@app.command
def schema(*, json_output: Json = False) -> int:  # noqa: ARG001  every command takes --json; this one is JSON anyway
    """Print the JSON schema of a study's YAML file.

    hpo schema > study.schema.json
    """
    from studies.spec import Spec

    print_json(Spec.model_json_schema())
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; `hpo.entry` comes before it, and an older installation begins here."""
    if arguments is None:
        leave_the_process_list()
    sys.exit(execute(arguments))


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        complain(str(interrupt) or "interrupted")
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return 1
        message, code = _explain(error, tokens)
        if not message:
            raise
        # A URL in the wrong place is repeated like anything else that is wrong.
        complain(hide_arguments(message, tokens))
    return code if isinstance(code, int) else 0


def _reader_is_gone() -> bool:
    """Return whether nobody reads what is printed, as after `hpo status | head -1`; then nothing more is printed."""
    with suppress(OSError, ValueError):
        poll = select.poll()
        # Asked for nothing, it says what can't be otherwise: that the other end is closed.
        poll.register(sys.stdout.fileno(), 0)
        if poll.poll(0):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return True
    return False


def _explain(error: Exception, tokens: Sequence[str]) -> tuple[str, int]:
    """Return what to say of an error and the exit code; nothing for one that nobody has thought of."""
    if isinstance(error, CycloptsError):
        rule = one_line(str(error)).rstrip(".")
        return f"{rule}: `hpo {_command_of(tokens)}--help` shows what is understood", 2
    if isinstance(error, InputError):
        return one_line(str(error)), 2
    if isinstance(error, ForkFailedError):
        return f"{str(error).strip()}: the same command begins again", 1
    if isinstance(error, ProgramFailedError):
        return one_line(str(error)), 1
    if _database_went_away(error):
        return "the database went away; nothing is lost: the same command goes on when it is back", 1
    return "", 1


def _database_went_away(error: Exception) -> bool:
    from hpo.storage import database_away

    return isinstance(error, database_away())


def _command_of(tokens: Sequence[str]) -> str:
    words = [
        token for token in tokens[:2] if token in {*app._commands, *db._commands, *fleet._commands, *size._commands}
    ]
    return "".join(f"{word} " for word in words)


if __name__ == "__main__":
    main()
