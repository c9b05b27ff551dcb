"""`hpo status` and `hpo metrics`: how the studies stand."""

from typing import Annotated

from cyclopts import Parameter

from budgets.errors import InputError
from hpo.output import Json, Storage, print_json, say

Flag = Annotated[bool, Parameter(negative="")]


def status(
    study: str | None = None,
    /,
    *,
    watch: Flag = False,
    every: float = 2.0,
    failures: Flag = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Show counts, best score, trials an hour, time to go, workers with their memory, and alerts.

    hpo status quickstart --watch

    Args:
        study: One study; default: all.
        watch: Show it anew until Ctrl-C; with --json one object a line.
        every: Seconds between two looks.
        failures: Show why trials failed or ran again, the last lines of each.
    """
    from hpo import app as service
    from hpo import status_view
    from hpo.settings import load_settings

    settings = load_settings()
    if watch:
        if failures:
            raise InputError("--watch shows how it stands now and --failures what has been: leave one of them out")
        if not 0.2 <= every < float("inf"):
            raise InputError(f"--every is a number of seconds from 0.2, not {every}: 2 is the default")
        looks = service.watch(settings, storage, study)
        return status_view.watch(looks, every, single=study is not None, as_json=json_output)
    found = service.status(settings, storage, study)
    trials = {each.study.name: service.trials(settings, storage, each.study.name) for each in found if failures}
    if json_output:
        shown = [each.as_json() for each in found]
        for each in shown if failures else ():
            each["failures"] = status_view.failures_json(trials[each["study"]])
        print_json(shown[0] if study else {"studies": shown})
        return 0
    status_view.print_statuses(found)
    for ended in trials.values():
        status_view.print_failures(ended)
    if not found:
        say("no study yet: `hpo run quickstart` makes one")
    return 0


def metrics(
    *,
    port: int = 9464,
    host: str = "127.0.0.1",
    once: Flag = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Serve the numbers of hpo status for Prometheus, on /metrics.

    hpo metrics --port 9464

    Args:
        port: Where it listens; 0 is any free one.
        host: The address that it listens on; there is no login.
        once: Print them once instead.
    """
    from hpo import metrics as service
    from hpo.dashboard import listen
    from hpo.settings import load_settings

    settings = load_settings()
    if once:
        text = service.metrics_text(settings, storage)
        print_json({"metrics": text}) if json_output else say(text.rstrip())
        return 0
    listener = listen(host, port, default=9464)
    with listener.socket:
        return service.serve(settings, storage, listener, as_json=json_output)
