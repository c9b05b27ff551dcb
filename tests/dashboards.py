"""A dashboard that serves, and what is asked of it."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit

from command import Command
from servers import PASSWORD


@dataclass(frozen=True)
class Site:
    """A dashboard that serves."""

    process: subprocess.Popen[str]
    url: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], str]:
        content = None if body is None else json.dumps(body)
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as connection:
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode(errors="replace")

    def json(self, path: str) -> Any:
        status, _, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def study_id(self, name: str) -> int:
        studies = self.json("/api/studies")["study_summaries"]
        return next(int(study["study_id"]) for study in studies if study["study_name"] == name)

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out + err


@contextmanager
def dashboard(command: Command, *arguments: str) -> Iterator[Site]:
    """Serve on a free port until the end of the block."""
    process = command.start("dashboard", *arguments, "--port", "0", "--json")
    try:
        assert process.stdout is not None
        printed = ""
        while not printed.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.communicate()
            printed += line
        found = json.loads(printed)
        assert found["writable"] == ("--writable" in arguments)
        yield Site(process, found["url"])
    finally:
        process.kill()
        process.communicate()


def hidden(text: str) -> bool:
    """Whether the password of the tests is not in a text, in any form."""
    return not any(secret in text for secret in (PASSWORD, quote(PASSWORD, safe=""), "p%40ss", "p@ss"))
