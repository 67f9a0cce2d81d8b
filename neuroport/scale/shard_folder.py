"""Finished shards in a folder beside the result, from which an interrupted run continues."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroport.errors import CompareError
from neuroport.files import check_folder, read_json, write_atomic, write_json

PLAN = "plan.json"


class ShardFolder:
    """``OUT.shards``, with the plan of the run and one file per finished shard.

    Raises:
        CompareError: the folder holds shards of another run.
        StorageError: the folder is not writable.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any]) -> None:
        self.folder = check_folder(out.with_name(f"{out.name}.shards"))
        self.shards = int(plan["shards"])
        told = json.loads(json.dumps(plan))
        if (self.folder / PLAN).exists():
            known = read_json(self.folder / PLAN)
            if known != told:
                keys = [k for k in told if not isinstance(known, dict) or known.get(k) != told[k]]
                raise CompareError(
                    f"{self.folder} holds shards of another run (of other {', '.join(keys)}); "
                    "remove it, or write to another file"
                )
        else:
            write_json(self.folder / PLAN, told)

    def path(self, number: int) -> Path:
        """Return the file of a shard."""
        return self.folder / f"{number:06d}"

    def done(self) -> list[int]:
        """Return the finished shards."""
        return [n for n in range(1, self.shards + 1) if self.path(n).exists()]

    def keep(self, number: int, content: bytes) -> None:
        """Store a shard, atomically."""
        write_atomic(self.path(number), content)

    def remove(self) -> None:
        """Remove the folder, after the result was written."""
        shutil.rmtree(self.folder, ignore_errors=True)
