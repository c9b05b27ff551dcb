"""Passwords in what somebody typed: shown as ***, or taken out. Nothing but the standard library is imported here.

A text that is a URL as it should be is shown with all but its secrets. One that is not may hold a password anywhere:
of that one nothing is shown but the scheme.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import unquote

HIDDEN = "***"
# Stricter than any parser: an @ or a colon in another place means that the rest may be anything.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*)://"
    # Some servers have users with an @, which counts as one only before a password.
    r"(?:(?P<user>[^:/@?]*(?:@[^:/@?]*(?=:[^/@?]*@))?)(?::(?P<password>[^@]*))?@)?"
    r"(?P<place>(?:\[[^\]/?@]*\]|[^:/?@\s]*)(?::\d*)?(?:/[^:?@\s]*)?)"
    r"(?P<query>\?(?s:.*))?"
)
_SCHEME = re.compile(r"\s*([A-Za-z][\w+.-]*)://")
_SECRET_PARAMETER = re.compile(r"(?i)([?&][^=&]*(?:password|secret|key)[^=&]*=)[^&]*")
_PASSWORD_PARAMETER = re.compile(r"[?&]password=([^&]*)")
_OPTION = re.compile(r"(?s)(--?[\w-]+=)?(.*)")
_PLAIN_WORD = re.compile(r"[\w.-]*")
_MAY_HOLD_A_PASSWORD = re.compile(r"(?is)://.*[:@?]|:.*@|password\s*=")


def shown(text: str) -> str:
    """Return what may be shown of a text that should be a URL."""
    text = text.strip()
    if (url := _URL.fullmatch(text)) and "@" not in (url["user"] or ""):
        user = "" if url["user"] is None else url["user"] + (f":{HIDDEN}" if url["password"] else "") + "@"
        return f"{url['scheme']}://{user}{url['place']}{hide_parameters(url['query'] or '')}"
    if scheme := _SCHEME.match(text):
        return f"{scheme[1]}://{HIDDEN}"
    return text if _PLAIN_WORD.fullmatch(text) else HIDDEN


def hide_parameters(text: str) -> str:
    """Return a URL, or the query of one, with *** for every parameter that may be a secret."""
    return _SECRET_PARAMETER.sub(rf"\1{HIDDEN}", text)


def hide_arguments(message: str, arguments: Sequence[str]) -> str:
    """Return the message with *** for what may be a password in the arguments that it repeats."""
    secrets = {form for argument in arguments for form in _secrets_of(argument)}
    # The longest first: a form that holds another one would leave its rest behind.
    for secret in sorted(secrets, key=len, reverse=True):
        message = message.replace(secret, HIDDEN)
    return message


def _secrets_of(argument: str) -> set[str]:
    """Return the part of an argument that may hold a password, in every form in which a message may repeat it."""
    value = _split_option(argument)[1]
    if shown(value) == value or not _MAY_HOLD_A_PASSWORD.search(value):
        return set()
    # Never the password alone: where that is a word such as postgres, the rest of the message would suffer.
    secret = value.partition("://")[2] or value
    parts = {secret, "".join(secret.rpartition("@")[:2]), *re.findall(r"(?i)password\s*=[^&\s]*", secret)} - {""}
    parts |= {part for part in secret.split("/") if ":" in part}
    parts |= {str(PurePath(part)) for part in parts}
    return {form for part in parts for form in (part, " ".join(part.split()), repr(part)[1:-1])}


def passwords_in(arguments: Sequence[str]) -> set[str]:
    """Return the passwords of all URLs in the arguments."""
    found = (_split_url(_split_option(argument)[1])[1] for argument in arguments)
    return {password for password in found if password}


def without_passwords(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the arguments with every URL stripped of its password, and the last password of them.

    A URL that every parser refuses, for an @ too many, loses everything, and is refused for the same reason.
    """
    stripped, password = [], None
    for argument in arguments:
        option, value = _split_option(argument)
        bare, found = _split_url(value)
        stripped.append(option + bare)
        password = found or password
    return stripped, password


def _split_option(argument: str) -> tuple[str, str]:
    parts = _OPTION.fullmatch(argument)
    assert parts is not None
    return parts[1] or "", parts[2]


def _split_url(text: str) -> tuple[str, str | None]:
    url, scheme = _URL.fullmatch(text.strip()), _SCHEME.match(text)
    if url is None:
        return (f"{scheme[1]}://***:***@***@***", "") if scheme and "@" in text else (text, None)
    query = url["query"] or ""
    parameter = _PASSWORD_PARAMETER.search(query)
    given = parameter[1].replace("+", " ") if parameter else url["password"]
    if not given or "\0" in unquote(given):
        # No variable takes a NUL; it is refused in a moment.
        return text, None
    kept = _PASSWORD_PARAMETER.sub("", query)
    user = "" if url["user"] is None else url["user"].replace("@", "%40") + "@"
    return f"{url['scheme']}://{user}{url['place']}{'?' + kept[1:] if kept else ''}", unquote(given)
