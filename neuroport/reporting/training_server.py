"""A local web server with one page that shows a running training.

It listens on 127.0.0.1 and answers only requests with the token in the page's address, which other
users of the machine and pages of other sites do not know. It reads only the metrics of the folder
for which it was started. Requested paths are never looked up.
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
    """Return the name of a run, its epochs so far, and their time.

    Raises:
        StorageError, FormatError: see :func:`~neuroport.training.metrics.read_metrics`.
    """
    epochs = read_metrics(folder)
    written = ""
    if epochs:
        written = time.strftime("%d %B, %H:%M:%S", time.localtime(_state(folder)[0] / 1e9))
    return folder.absolute().name or str(folder), epochs, written


def _state(folder: Path) -> tuple[int, int]:
    """Return time and size of the metrics, to notice changes."""
    try:
        found = (folder / METRICS).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


class TrainingServer(ThreadingHTTPServer):
    """Server of the page of ``folder``; :attr:`url` is its address.

    Args:
        port: number of the port; 0: any free port.

    Raises:
        StorageError: there is no such folder, or the port is in use.
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
        """A tag that changes with the metrics."""
        return "-".join(map(str, _state(self.folder)))

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: the client has disconnected or asked for something unknown."""


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
        """Whether the request names this server; other names are refused."""
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
        """Print nothing: the terminal shows only the address."""
