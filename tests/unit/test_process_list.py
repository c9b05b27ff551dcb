"""A password given on the command line leaves it."""

import pytest

from hpo.process_list import without_password

BARE = "postgresql://me@db.example:5432/hpo"
SECRET = "p@ss:w/rd%"
URL = "postgresql://me:p%40ss%3Aw%2Frd%25@db.example:5432/hpo"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["--storage", URL], ["--storage", BARE]),
        ([f"--storage={URL}"], [f"--storage={BARE}"]),
        (["--storage", URL.replace("postgresql:", "postgres:")], ["--storage", BARE]),
        (["--storage", f"{BARE}?password=p%40ss%3Aw%2Frd%25"], ["--storage", BARE]),
    ],
)
def test_the_password_is_taken_out_of_the_url(given: list[str], left: list[str]) -> None:
    assert without_password(["python", "hpo", "status", *given]) == (["python", "hpo", "status", *left], SECRET)


@pytest.mark.parametrize("given", [["--storage", BARE], ["run", "a=b.yaml"], ["--storage", "mysql://u:pw@h/d"], []])
def test_what_holds_no_password_of_a_postgres_stays_as_it_is(given: list[str]) -> None:
    assert without_password(given) == (given, None)
