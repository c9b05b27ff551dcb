"""The dashboard: optuna-dashboard behind waitress, read-only unless writing is asked for.

What a request passes through, from the outside in:

    careful_headers   no other site shows a page of this one in a frame
    known_names       a name of another site that leads to this machine is refused; an address is nobody's site
    read_only         nothing but GET and HEAD; with `writable`, `same_origin` instead: no other site's pages write
    outlasting        a database that goes away is said in one line, and found again when it is back
    optuna-dashboard  of its GET routes none writes; with `forbid_writing` none could
"""

import errno
import ipaddress
import json
import logging
import socket
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from psycopg2 import extensions
from sqlalchemy import Engine, event

from budgets.errors import InputError
from hpo.errors import StorageError
from hpo.storage import Storage, check_reachable, redact

_READING = ("GET", "HEAD")
_AGAIN_SECONDS = 2
_LOG = logging.getLogger("hpo.dashboard")


@dataclass(frozen=True)
class Listener:
    """A socket that listens; made by `listen`.

    Attributes:
        socket: the socket.
        host: the host as it was given.
    """

    socket: socket.socket
    host: str

    @property
    def address(self) -> str:
        """The numeric address that it listens on."""
        return str(self.socket.getsockname()[0])

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def url(self) -> str:
        """What to open in a browser on this machine."""
        address = ipaddress.ip_address(self.address)
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(address), self.host)  # noqa: S104  compared, not bound
        return f"http://{f'[{here}]' if ':' in here else here}:{self.socket.getsockname()[1]}"


def listen(host: str, port: int, default: int = 8080) -> Listener:
    """Listen on a TCP port; port 0 takes a free one, and `default` is what the command takes by itself.

    Raises:
        InputError: the port is none or taken, or the host is not one of this machine.
    """
    if not 0 <= port <= 65535:
        raise InputError(
            f"--port is a number from 0 to 65535, not {port}: leave it out for {default}, 0 takes a free one"
        )
    if not host.strip():
        raise InputError(f"--host is a name or an address of this machine, not {host!r}: leave it out for 127.0.0.1")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return Listener(socket.create_server(address[:2], family=family), host)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise InputError(
                f"the port must be free, and another program listens on {host} port {port}: "
                "choose another with --port, 0 takes a free one"
            ) from None
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"--host and --port must be an address to listen on, {host!r} port {port} is not ({reason}): "
            "leave --host out for 127.0.0.1, and take a port above 1023"
        ) from None


def serve(storage: Storage, listener: Listener, *, writable: bool, announce: Callable[[], None]) -> None:
    """Serve the dashboard until Ctrl-C or SystemExit; what goes wrong is logged in one line, without a password.

    Args:
        storage: the storage that it shows; where it is the embedded one, it is started again when it has died.
        listener: where it listens.
        writable: whether its pages may change and delete studies.
        announce: called as soon as requests are answered.
    """
    from waitress.server import create_server

    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(storage))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # Ctrl-C is the way out, whatever it meets.
    with suppress(KeyboardInterrupt):
        app = application(storage, ["localhost", listener.host.lower()], writable=writable)
        server = create_server(app, sockets=[listener.socket], ident=None)
        announce()
        server.run()


def application(storage: Storage, names: Collection[str], *, writable: bool) -> WSGIApplication:
    """Return the dashboard of a storage with everything that guards it; see the module's picture."""
    from optuna_dashboard import wsgi

    dashboard = wsgi(storage.optuna)
    # What a page raises comes here, and not into a stack trace on stderr.
    dashboard.catchall = False
    guarded = outlasting(dashboard, storage)
    if writable:
        guarded = same_origin(guarded)
    else:
        forbid_writing(storage.optuna.engine)
        guarded = read_only(guarded)
    return careful_headers(known_names(guarded, names))


def forbid_writing(engine: Engine) -> None:
    """Make every transaction of an engine a read-only one: Postgres itself refuses what would write."""

    @event.listens_for(engine, "connect")
    def begin_read_only(connection: extensions.connection, _: object) -> None:
        connection.set_session(readonly=True)

    # Those that are open already were opened without it.
    engine.dispose()


def read_only(app: WSGIApplication) -> WSGIApplication:
    """Pass on GET and HEAD alone."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in _READING:
            return app(environ, start_response)
        said = "this dashboard is read-only: `hpo dashboard --writable` lets its pages change and delete studies"
        return _say(environ, start_response, "405 Method Not Allowed", said, ("Allow", ", ".join(_READING)))

    return answer


def same_origin(app: WSGIApplication) -> WSGIApplication:
    """Refuse what a browser sends for a page of another site; what is no browser names no origin."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN")
        here = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}"
        if environ["REQUEST_METHOD"] in _READING or origin is None or origin.lower() == here.lower():
            return app(environ, start_response)
        return _say(
            environ, start_response, "403 Forbidden", "only this dashboard's own pages may write: open it itself"
        )

    return answer


def known_names(app: WSGIApplication, names: Collection[str]) -> WSGIApplication:
    """Refuse a request for any other host: the name of a site that leads its visitors' browsers to this machine.

    An address passes, whichever: no site can have it for a name.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name = _name(environ.get("HTTP_HOST", ""))
        if name in names or _is_address(name):
            return app(environ, start_response)
        known = ", ".join(sorted({*names} - {""}))
        said = f"this dashboard answers to its address and to {known}: open it so, or begin it with another --host"
        return _say(environ, start_response, "403 Forbidden", said)

    return answer


def careful_headers(app: WSGIApplication) -> WSGIApplication:
    """Forbid frames around the pages and guesses at what a file is."""
    careful = [("X-Frame-Options", "DENY"), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return app(environ, lambda status, headers, *error: start_response(status, [*headers, *careful], *error))

    return answer


def outlasting(app: WSGIApplication, storage: Storage) -> WSGIApplication:
    """Say in one line that a page failed: 503 while the database is away, else 500.

    The embedded server is started again, for nobody else may do that.
    """

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The dashboard looks at this header without asking whether it is there.
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")
        started: list[Any] = []

        def hold(*given: object) -> Callable[[bytes], object]:
            started.append(given)
            return _refuse_to_write

        cause = "see above"
        try:
            body = app(environ, hold)
        # Whatever it is: it is logged below, and the browser is answered.
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
        else:
            if not started[-1][0].startswith("500"):
                start_response(*started[-1])
                return body
        if _is_away(storage):
            status, said = "503 Service Unavailable", "the database is away: try again in a moment"
            return _say(environ, start_response, status, said, ("Retry-After", str(_AGAIN_SECONDS)))
        _LOG.error("%s failed: %s", environ.get("PATH_INFO"), cause)
        said = "this page failed: what `hpo dashboard` printed says why"
        return _say(environ, start_response, "500 Internal Server Error", said)

    return answer


def _is_away(storage: Storage) -> bool:
    try:
        check_reachable(storage.engine)
    except StorageError as error:
        _LOG.warning("%s", error)
    else:
        return False
    if storage.server is not None:
        try:
            storage.server.ensure_running()
        except StorageError as error:
            _LOG.error("%s", error)
    return True


def _refuse_to_write(_: bytes) -> None:
    raise NotImplementedError("optuna-dashboard returns what it answers")


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_address(name: str | None) -> bool:
    try:
        return bool(name and ipaddress.ip_address(name))
    except ValueError:
        return False


def _say(
    environ: WSGIEnvironment, start_response: StartResponse, status: str, said: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    # The dashboard's own pages show the reason of an answer of the API.
    api = environ.get("PATH_INFO", "").startswith("/api/")
    body = (json.dumps({"reason": said}) if api else f"{said}\n").encode()
    kind = "application/json" if api else "text/plain; charset=utf-8"
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class _OneLine(logging.Formatter):
    """The first line of a message, without the storage's password."""

    def __init__(self, storage: Storage) -> None:
        super().__init__("%(asctime)s %(name)s %(message)s")
        self._url = storage.url

    def format(self, record: logging.LogRecord) -> str:
        return redact(next(iter(super().format(record).splitlines()), ""), self._url)
