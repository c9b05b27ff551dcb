"""What stands between a browser and the dashboard, without a server."""

import socket
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna_dashboard import wsgi

from budgets.errors import InputError
from hpo.cli_dashboard import warning
from hpo.dashboard import Listener, careful_headers, known_names, listen, read_only, same_origin


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def ask(app: WSGIApplication, method: str = "GET", path: str = "/", **environ: str) -> tuple[int, dict[str, str], str]:
    answers: list[tuple[str, list[tuple[str, str]]]] = []
    request: dict[str, object] = {"REQUEST_METHOD": method, "PATH_INFO": path, **environ}
    setup_testing_defaults(request)
    body = b"".join(app(request, lambda status, headers, *_: answers.append((status, headers)) or print))
    return int(answers[0][0][:3]), dict(answers[0][1]), body.decode()


def test_the_routes_that_only_read_are_these_until_somebody_has_looked_at_a_new_one() -> None:
    app = wsgi(optuna.storages.InMemoryStorage())
    assert sorted(route.rule for route in app.routes if route.method == "GET") == [  # type: ignore[attr-defined]
        "/",
        "/api/meta",
        "/api/studies",
        "/api/studies/<study_id:int>",
        "/api/studies/<study_id:int>/param_importances",
        "/api/studies/<study_id:int>/plot/<plot_type>",
        "/artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "/artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "/csv/<study_id:int>",
        "/dashboard<:re:(/.*)?>",
        "/favicon.ico",
        "/incompatible-rdb-schema",
        "/static/<filename:path>",
    ]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_passes(method: str) -> None:
    assert ask(read_only(hello), method)[::2] == (200, "hello")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", ""])
@pytest.mark.parametrize("path", ["/", "/api/studies"])
def test_everything_else_is_refused_with_the_remedy(method: str, path: str) -> None:
    status, headers, body = ask(read_only(hello), method, path)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert "hpo dashboard --writable" in body
    assert headers["Content-Length"] == str(len(body))


NAMES = ("localhost", "gpu-box")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "gpu-box:1",
        "192.0.2.7:8080",
        "[2001:db8::1]:8080",
        "LOCALHOST:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "[::1]",
    ],
)
def test_this_machines_own_names_and_every_address_pass(host: str) -> None:
    assert ask(known_names(hello, NAMES), HTTP_HOST=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example:80",
        "127.0.0.1.evil.example",
        "127.1.evil:80",
        "evil@localhost.x",
        "[::1",
        "",
        ":80",
    ],
)
def test_a_name_of_another_site_is_refused(host: str) -> None:
    status, _, body = ask(known_names(hello, NAMES), HTTP_HOST=host)
    assert (status, "localhost" in body) == (403, True)


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:1", 200), ("http://evil.example", 403), ("null", 403), ("http://localhost", 403)],
)
def test_only_the_dashboards_own_pages_write(origin: str, status: int) -> None:
    assert ask(same_origin(hello), "POST", HTTP_HOST="localhost:1", HTTP_ORIGIN=origin)[0] == status
    assert ask(same_origin(hello), "GET", HTTP_HOST="localhost:1", HTTP_ORIGIN=origin)[0] == 200
    assert ask(same_origin(hello), "POST", HTTP_HOST="localhost:1")[0] == 200


def test_no_other_site_frames_a_page() -> None:
    assert ask(careful_headers(hello))[1]["X-Frame-Options"] == "DENY"
    assert ask(careful_headers(read_only(hello)), "POST")[1]["X-Content-Type-Options"] == "nosniff"


def test_a_free_port_on_this_machine_alone() -> None:
    listener = listen("127.0.0.1", 0)
    with listener.socket:
        assert listener.is_local
        assert listener.url == f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        assert warning(listener, writable=True) is None


def test_an_address_of_the_network_is_said_to_have_no_login() -> None:
    # Bound and never listening: nothing is open to the network here.
    with socket.socket() as bound:
        bound.bind(("0.0.0.0", 0))
        listener = Listener(bound, "0.0.0.0")
        assert not listener.is_local
        assert listener.url == f"http://127.0.0.1:{bound.getsockname()[1]}"
        for writable, said in ((False, "sees every study"), (True, "changes every study")):
            line = warning(listener, writable=writable)
            assert line is not None
            assert "no login" in line
            assert said in line


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("127.0.0.1", -1, "--port is a number from 0 to 65535, not -1"),
        ("127.0.0.1", 65536, "65536"),
        ("", 0, "--host"),
        ("192.0.2.1", 0, "192.0.2.1"),
        ("a..b", 0, "a..b"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(host: str, port: int, said: str) -> None:
    with pytest.raises(InputError) as caught:
        listen(host, port)
    assert said in str(caught.value)
    assert ": " in str(caught.value)
    assert "\n" not in str(caught.value)
