"""Finished shards in a folder, from which an interrupted run continues.

Workers that reach the folder (on this machine, or by a shared file system) write there themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroport.errors import CompareError
from neuroport.files import check_folder, read_json, write_atomic, write_json

PLAN = "plan.json"
TOKEN = "token"  # of the process that distributes the shards now


class ShardFolder:
    """A folder with the plan of the run and what came of each finished shard.

    Raises:
        CompareError: the folder holds shards of another run, or of an unknown one.
        StorageError: the folder is not writable.
    """

    word, run = "shard", "run"  # what messages call a shard, and all of them

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = check_folder(folder)
        self.shards = int(plan["shards"])
        told = json.loads(json.dumps(plan))
        if (self.folder / PLAN).exists():
            known = read_json(self.folder / PLAN)
            if known != told:
                keys = [k for k in told if not isinstance(known, dict) or known.get(k) != told[k]]
                raise CompareError(
                    f"{self.folder} holds {self.word}s of another {self.run} (of other "
                    f"{', '.join(keys)}); remove it, or write elsewhere"
                )
        elif any(each.name.isdecimal() for each in self.folder.glob("*")):
            raise CompareError(
                f"{self.folder} holds {self.word}s of an unknown {self.run}: {PLAN} is missing; "
                "remove the folder, or write elsewhere"
            )
        else:
            write_json(self.folder / PLAN, told)
        self.token = secrets.token_hex(16)
        write_atomic(self.folder / TOKEN, self.token)

    def path(self, number: int) -> Path:
        """Return the file of a shard."""
        return self.folder / f"{number:06d}"

    def done(self) -> list[int]:
        """Return the finished shards."""
        return [n for n in range(1, self.shards + 1) if self.path(n).exists()]

    def keep(self, number: int, content: bytes) -> None:
        """Store a shard, atomically."""
        write_atomic(self.path(number), content)

    def told(self, place: Path) -> dict[str, Any]:
        """Return what a job tells its worker, so that it can write to ``place`` in this folder."""
        return {"place": str(place.resolve()), "token": self.token}

    def remove(self) -> None:
        """Remove the shards, after the result was written; and the folder, if it holds no more."""
        own = [*(self.path(n) for n in range(1, self.shards + 1)), self.folder / PLAN]
        left = self.folder.glob(".neuroport-*")  # by killed workers, as write_atomic names it
        for path in (*own, self.folder / TOKEN, *left):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's files
            self.folder.rmdir()


def reached(job: Mapping[str, Any]) -> Path | None:
    """Return the place that a job tells, if this machine can write to the folder of its run.

    A folder of the same path on another machine, or of an earlier run, has another token.
    """
    if "place" not in job:
        return None
    place = Path(job["place"])
    try:
        known = (place.parent / TOKEN).read_bytes() == job["token"].encode()
    except OSError:  # it is not there, or is another user's
        return None
    return place if known and os.access(place.parent, os.W_OK) else None
