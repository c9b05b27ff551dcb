"""`hpo dashboard`: the studies in a browser."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hpo.output import Json, Storage, complain, print_json

if TYPE_CHECKING:
    from hpo.dashboard import Listener


def dashboard(
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    writable: Annotated[bool, Parameter(negative="")] = False,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Show the studies in a browser, read-only, until Ctrl-C or SIGTERM.

    hpo dashboard --port 8081

    Args:
        port: Port that it listens on; 0 takes a free one.
        host: Address that it listens on; there is no login, so any but the default opens it to the network.
        writable: Let its pages change and delete studies.
    """
    import signal
    import sys

    from hpo import app as service
    from hpo.dashboard import listen
    from hpo.settings import load_settings

    def on_terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(0)

    signal.signal(signal.SIGTERM, on_terminate)
    settings, listener = load_settings(), listen(host, port)

    def announce() -> None:
        warned = warning(listener, writable=writable)
        if warned:
            complain(warned)
        complain(f"the dashboard is at {listener.url}{', and writable' if writable else ''}; Ctrl-C ends it")
        if json_output:
            print_json({"url": listener.url, "writable": writable})
            sys.stdout.flush()

    with listener.socket:
        service.dashboard(settings, storage, listener, writable=writable, announce=announce)
    return 0


def warning(listener: "Listener", *, writable: bool) -> str | None:
    """Return what to warn of before the network may reach it, or None where only this machine does."""
    if listener.is_local:
        return None
    may = "sees and changes every study" if writable else "sees every study"
    port = listener.socket.getsockname()[1]
    return f"warning: there is no login, and whoever reaches port {port} of {listener.host} {may}: keep others from it"
