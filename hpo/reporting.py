"""`hpo report` without its words: reads a study, finds out, and writes what was asked for."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from budgets.errors import InputError
from hpo.report.drawing import draw
from hpo.report.findings import Findings, findings
from hpo.report.markdown import markdown
from hpo.report.page import page
from hpo.report.publish import publish as put_into_dashboard
from hpo.report.reading import read_evidence
from hpo.report.readings import reading_of
from hpo.report.summary import Summary, summarize
from hpo.report.top import finite
from hpo.service import is_untouched, unknown_study
from hpo.settings import Settings
from hpo.storage import open_storage

Format = Literal["html", "md", "json"]


@dataclass(frozen=True)
class Report:
    """What was found, and where it went.

    Attributes:
        text: in the format that was asked for.
        path: of the file; None where none was written.
        published: how many figures the dashboard has; None where none were asked for.
    """

    found: Findings
    words: Summary
    text: str
    path: Path | None = None
    published: int | None = None


def report(
    settings: Settings,
    storage_url: str | None,
    name: str,
    *,
    kind: Format = "html",
    directory: Path | None = None,
    size: str | None = None,
    publish: bool = False,
) -> Report:
    """Return the report of a study, written into a directory where one is given.

    Raises:
        InputError: the directory is a file or can't be written.
        UnknownStudyError: there is no such study.
    """
    if is_untouched(settings, storage_url):
        raise unknown_study(name, [])
    if directory is not None:
        check_directory(directory)
    with open_storage(settings, storage_url) as storage:
        evidence = read_evidence(storage, name, size)
        found = findings(evidence, reading_of(storage.engine, evidence) if evidence.is_own else None)
        published = put_into_dashboard(storage, name, size=size) if publish else None
    words = summarize(found)
    text = _text(found, words, kind)
    path = None if directory is None else _write(directory / f"{file_name(name)}.{kind}", text)
    return Report(found, words, text, path, published)


def _text(found: Findings, words: Summary, kind: Format) -> str:
    if kind == "md":
        return markdown(found, words, draw(found))
    if kind == "json":
        return json.dumps(as_json(found, words), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return page(found, words, draw(found), datetime.now())


def as_json(found: Findings, words: Summary) -> dict[str, Any]:
    """Return words and numbers."""
    whole: dict[str, Any] = finite({"summary": words.as_json(), **found.as_json()})
    return whole


def file_name(study: str) -> str:
    """Return what a file about a study is called: names that other tools give may hold anything, `../` included."""
    plain = study.replace("/", "-") if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", study) else ""
    if plain:
        return plain
    # Two names that differ in what a file name can't hold are two files.
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", study).strip(".-") or "study"
    return f"{short}-{hashlib.sha256(study.encode()).hexdigest()[:6]}"


def check_directory(directory: Path) -> None:
    """Raise InputError where no file can be written into a folder, which is not made yet."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--out is a folder, {directory} is a file: name another one")
    existing = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    if not os.access(existing, os.W_OK):
        raise InputError(f"--out is a folder that can be written, {existing} can't: name another one")


def _write(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"--out is a folder that can be written, {path.parent} is not ({error.strerror})") from None
    return path
