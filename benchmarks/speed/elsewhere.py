"""What was timed in the environment of another library, as ratios to the bare network there."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.timing import Spread, Turns

ROOT = Path(__file__).resolve().parents[2]
BARE = ("bare, contiguous", "bare, channels last")


@dataclass(frozen=True)
class Elsewhere:
    """Turns of SpikingJelly; without its environment there are none, and no ratios."""

    turns: dict[str, Turns] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def run(cls, python: Path | None, rounds: int, threads: int) -> Elsewhere:
        """Time it with ``python``, the interpreter of an environment that has SpikingJelly."""
        if python is None:
            return cls()
        command = [str(python), "-m", "benchmarks.speed.jelly", str(rounds), str(threads)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        turns = {name: Turns(seconds) for name, seconds in told["turns"].items()}
        return cls(turns, told["versions"])

    def ratio(self, what: str, way: str) -> Spread | None:
        """``way`` over the bare network of the same turns."""
        if what not in self.turns:
            return None
        turns = self.turns[what]
        return turns.ratio(way, turns.faster(*BARE))

    @staticmethod
    def over(theirs: Spread, ours: Spread) -> Spread:
        """How many times slower: medians over medians, with the widest range of the rounds."""
        return Spread(theirs.median / ours.median, theirs.low / ours.high, theirs.high / ours.low)
