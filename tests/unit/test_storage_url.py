"""Which URLs are taken, and that a password is never shown."""

import subprocess
import sys

import pytest

from hpo.errors import StorageError
from hpo.masking import hide_arguments
from hpo.storage import masked, open_engine, parse_storage_url, redact

PASSWORD = "p@ss:w/rd%{x} ü"
ENCODED = "p%40ss%3Aw%2Frd%25%7Bx%7D%20%C3%BC"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_postgres_scheme_gives_the_same_url(scheme: str) -> None:
    url = parse_storage_url(f" {scheme}://u:{ENCODED}@db:5433/x\n")
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == ("u", PASSWORD, "db", 5433, "x")


def test_a_socket_folder_is_taken() -> None:
    url = parse_storage_url("postgresql://postgres@/postgres?host=/tmp/x")
    assert url.query["host"] == "/tmp/x"


def test_a_password_among_the_parameters_moves_to_where_it_is_masked() -> None:
    url = parse_storage_url("postgresql://db/x?user=u&password=secret")
    assert url.password == "secret"
    assert "secret" not in repr(url) + str(url) + masked(url)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "   ",
        "sqlite:///secret.db",
        "sqlite://",
        "mysql://u:secret@db/x",
        "postgresql+asyncpg://u:secret@db/x",
        "postgresql://u:secret@db:port/x",
        "postgresql://u:se@secret@db/x",
        "postgresql://u:se/secret@secret@db/x",
        "postgresql:u:secret@db",
        "postgresql+psycopg://hpo@server:secret@h/db",
        "postgresql://a@b:secret@h:54x/x",
        "postgresql//u:secret@h/x",
        "postgresql://u:secret/db",
        "postgresql://us/er:secret@h/x",
        "mysql://u@h/x?sslpassword=secret",
        "mysql://u@h/x?PASSWORD=secret",
        "mysql://u@h:x/x?password=secret",
        "postgresql://u:secret%00@h/x",
        "postgresql://u@h/x?password=secret%00",
        "postgresql://u@h%00/x?sslpassword=secret",
        "u:secret@db/x",
        "host=db password=secret",
        "host=db password = 'a secret'",
        "nonsense\nin two lines",
    ],
)
def test_anything_else_is_refused_in_one_line_without_its_password(given: str) -> None:
    with pytest.raises(StorageError) as caught:
        parse_storage_url(given)
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message.replace("secret.db", "")
    assert ": " in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_message_says_rule_value_and_remedy() -> None:
    with pytest.raises(StorageError, match=r"must be a Postgres .* not 'sqlite:///x': write postgresql://USER"):
        parse_storage_url("sqlite:///x")


@pytest.mark.parametrize("parameter", ["sslpassword", "PASSWORD", "oauth_client_secret", "scram_client_key"])
def test_every_parameter_that_may_be_a_secret_is_masked(parameter: str) -> None:
    url = parse_storage_url(f"postgresql://u@db/x?{parameter}=secret&sslmode=require")
    for text in (masked(url), masked(f"postgresql://u@db/x?{parameter}=secret&sslmode=require")):
        assert "secret" not in text.replace("oauth_client_secret", "")
        assert "sslmode=require" in text


def test_a_message_loses_what_may_be_a_password_in_an_argument_that_it_repeats() -> None:
    url = "postgresql://postgres:postgres@h/postgres"
    message = f"Unknown option: --storag={url}; in /home/x/{url.replace('//', '/')}; the masked postgres:***@h stays"
    hidden = hide_arguments(message, ["status", f"--storag={url}"])
    assert hidden == (
        "Unknown option: --storag=postgresql://***; in /home/x/postgresql:/***; the masked postgres:***@h stays"
    )
    for harmless in (
        "quickstart",
        "run/12:30.yaml",
        "https",
        "a@b",
        "--every",
        "password-study",
        "postgresql://u@h:5432/x",
    ):
        assert hide_arguments(f"unknown {harmless}", [harmless]) == f"unknown {harmless}"


def test_masking_keeps_the_rest() -> None:
    assert masked(parse_storage_url("postgres://u:secret@db/x")) == "postgresql+psycopg2://u:***@db/x"
    assert masked("mysql://u:secret@db/x") == "mysql://u:***@db/x"
    assert masked("postgresql://u@db/x") == "postgresql://u@db/x"


def test_a_password_is_removed_from_a_text_as_it_is_and_encoded() -> None:
    url = parse_storage_url(f"postgresql://u:{ENCODED}@db/x")
    shown = url.render_as_string(hide_password=False)
    text = redact(f"raw {PASSWORD} percent {ENCODED} plus {ENCODED.replace('%20', '+')} url {shown}", url)
    assert text == "raw *** percent *** plus *** url postgresql+psycopg2://u:***@db/x"


def test_without_a_password_nothing_is_removed() -> None:
    assert redact("the text", parse_storage_url("postgresql://u@db/x")) == "the text"


def test_an_engine_connects_to_nothing_when_it_is_made_and_shows_no_password() -> None:
    engine = open_engine(parse_storage_url("postgresql://u:secret@nowhere.invalid/x"))
    assert "secret" not in repr(engine)


def test_importing_the_storage_is_light() -> None:
    code = "import sys, hpo.storage; print([m for m in ('torch', 'optuna', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
