"""A scheduler and workers of dask.distributed as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path


class Running:
    """A scheduler and workers as processes of their own, joined by their loopback address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        told = folder / "scheduler.json"
        self.scheduler = self.start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--scheduler-file", str(told),
        )  # fmt: skip
        until = time.monotonic() + 60
        while not told.exists() or not told.read_text().strip():
            assert time.monotonic() < until
            time.sleep(0.05)
        self.address = json.loads(told.read_text())["address"]
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{what}.txt", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments],
                stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip

    def join(self) -> subprocess.Popen[bytes]:
        worker = self.start(
            "worker", self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny",
            "--memory-limit", "0", "--host", "127.0.0.1",
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
