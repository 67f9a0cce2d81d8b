"""A web server of one page, for this machine alone: a training while it goes on.

It listens on 127.0.0.1, and answers who knows the token in the page's address and nobody else:
other users of the machine and pages of other sites do not. Of the file system it reads the metrics
of the one folder it was started for; no path that is asked for is looked up.
"""

from __future__ import annotations

import hmac
import secrets
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from neuroport import version
from neuroport.errors import NeuroportError, StorageError
from neuroport.files import place
from neuroport.reporting.training_page import body, failed, page, policy
from neuroport.training.metrics import METRICS, Epoch, read_metrics

HOST = "127.0.0.1"
PATIENCE = 10.0  # seconds for a request to arrive


def run_of(folder: Path) -> tuple[str, list[Epoch], str]:
    """The name of a run, its epochs so far, and when they were written.

    Raises:
        StorageError, FormatError: as :func:`~neuroport.training.metrics.read_metrics`.
    """
    epochs = read_metrics(folder)
    written = ""
    if epochs:
        written = time.strftime("%d %B, %H:%M:%S", time.localtime(_state(folder)[0] / 1e9))
    return folder.absolute().name or str(folder), epochs, written


def _state(folder: Path) -> tuple[int, int]:
    """Time and size of the metrics, which change whenever they do."""
    try:
        found = (folder / METRICS).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


class TrainingServer(ThreadingHTTPServer):
    """Serves the page of ``folder``; :attr:`url` is its address.

    Args:
        port: 0: any that is free.

    Raises:
        StorageError: there is no such folder, or the port is taken.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = Path(place(folder))
        read_metrics(self.folder)
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise StorageError(
                f"cannot listen on {HOST}, port {port} ({error}); use another --port, or 0 for "
                "any that is free"
            ) from error

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"

    @property
    def tag(self) -> str:
        """Another one when there is something new."""
        return "-".join(map(str, _state(self.folder)))

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who asked has gone, or asked for nothing that there is."""


class _Handler(BaseHTTPRequestHandler):
    server: TrainingServer
    timeout = PATIENCE

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        parts = asked.path.split("/")
        token = parts[1] if len(parts) == 3 and not parts[0] else ""
        known = hmac.compare_digest(token.encode(), self.server.token.encode())
        if not self._asked_here() or not known or parts[2] not in ("", "body"):
            self._answer(404, "Not found.\n", "text/plain")
            return
        tag = self.server.tag
        if parts[2] == "body" and parse_qs(asked.query).get("since") == [tag]:
            self._answer(204, "", "text/html", tag)
            return
        try:
            found = run_of(self.server.folder)
            text = body(*found) if parts[2] else page(*found, live=True)
        except NeuroportError as error:
            text = failed(error.message)
            if not parts[2]:
                text = page(self.server.folder.name, [], live=True)  # it asks for the body at once
        self._answer(200, text, "text/html", tag)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _asked_here(self) -> bool:
        """Whether the browser means this server by its own name: no other name leads here."""
        port = self.server.server_address[1]
        return self.headers.get("Host") in (f"{HOST}:{port}", f"localhost:{port}")

    def _answer(self, status: int, text: str, kind: str, tag: str = "") -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": f"{policy(True)}; frame-ancestors 'none'",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items():
            self.send_header(name, value)
        if tag:
            self.send_header("X-Tag", tag)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def version_string(self) -> str:
        return f"neuroport/{version.__version__}"

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal shows the address and nothing else."""
