"""``python -m tests.mutation``: mutate, test, and write what survived to ``results.json``."""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cosmic_ray.config import load_config

from tests.mutation import trial
from tests.mutation.mutants import Mutant, mutants

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"


def main() -> int:
    """Mutate the modules named, or all; the others keep their results. 1 when a mutant survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="files to mutate; all, without any")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants side by side")
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    options = parser.parse_args()
    config = load_config(str(FOLDER / "cosmic-ray.toml"))
    trial.load()
    modules = config["module-path"]
    found = json.loads(RESULTS.read_text())["modules"] if RESULTS.exists() else {}
    found = {module: found[module] for module in modules if module in found}
    for module in options.modules or modules:
        last = found[module] if options.again else None
        found[module] = _mutate(module, config, options.jobs, last)
        report = {"totals": _totals(found), "modules": found}
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
        _say(module, found[module])
    totals = _totals(found)
    print(totals)
    return int(totals["survivors"] + totals["wrongly called equivalent"] > 0)


def _say(module: str, part: dict[str, Any]) -> None:
    print(f"{module}: {part['mutants']} mutants, {len(part['survivors'])} survive", flush=True)
    for entry in part["survivors"]:
        print("  {at} {operator}\n    - {before}\n    + {after}".format(**entry), flush=True)
    for before, after in part["wrongly called equivalent"]:
        print(f"  called equivalent, but killed or never made:\n    - {before}\n    + {after}")


def _mutate(
    module: str, config: dict[str, Any], jobs: int, last: dict[str, Any] | None
) -> dict[str, Any]:
    """What became of the mutants of a module; after ``last``, only of those that survived then."""
    started = time.perf_counter()
    tests, equal = config["tests"][module], _equal(config, module)
    with tempfile.TemporaryDirectory() as folder:
        made = list(mutants(module, Path(folder) / "session.sqlite"))
    excluded = Counter(mutant.excluded for mutant in made if mutant.excluded)
    kept = [mutant for mutant in made if not mutant.excluded]
    counts: Counter[str] = Counter()
    todo = kept
    if last is not None:
        again = [_key(entry) for entry in last["survivors"] + last["equivalent"]]
        todo = [mutant for mutant in kept if _key(mutant.to_dict()) in again]
        counts["killed by its time or memory limit"] = last["of these by a limit"]
        counts["killed"] = len(kept) - len(todo) - last["of these by a limit"]
    survivors, equivalent, called = [], [], set()
    for mutant, outcome in _outcomes(todo, tests, jobs, _limit(module, tests)):
        entry = mutant.to_dict()
        if outcome != "survived":
            counts[outcome] += 1
        elif _key(entry) in equal:
            equivalent.append({**entry, "why": equal[_key(entry)]})
            called.add(_key(entry))
        else:
            survivors.append(entry)
    names = ("cosmic-ray", "numpy", "torch", "pytest")
    return {
        "mutants": len(kept),
        "killed": sum(counts.values()),
        "of these by a limit": counts["killed by its time or memory limit"],
        "excluded": dict(excluded),
        "tests": tests,
        "seconds": round(time.perf_counter() - started),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
        "survivors": sorted(survivors, key=_place),
        "equivalent": sorted(equivalent, key=_place),
        "wrongly called equivalent": [key for key in equal if key not in called],
    }


def _limit(module: str, tests: list[str]) -> float:
    """Seconds of processor time for a mutant: ten times what the unchanged module takes."""
    unchanged = Mutant(module, 0, "", Path(module).read_text(), "", "", "")
    before = os.times()
    for _, outcome in _outcomes([unchanged], tests, 1, 600):
        if outcome != "survived":
            raise SystemExit(f"{module}: its tests fail before anything is changed")
    after = os.times()
    user = after.children_user - before.children_user
    return max(20, 10 * (user + after.children_system - before.children_system))


def _outcomes(
    todo: list[Mutant], tests: list[str], jobs: int, seconds: float
) -> Iterator[tuple[Mutant, str]]:
    """Each mutant and what became of it, ``jobs`` at a time."""
    waiting, running = list(reversed(todo)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            if not _compiles(mutant.source):
                yield mutant, "killed"
                continue
            running[trial.start(mutant.module, mutant.source, tests, seconds)] = mutant
        if running:
            child, status = os.wait()
            yield running.pop(child), trial.outcome(status)


def _compiles(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _equal(config: dict[str, Any], module: str) -> dict[tuple[str, str], str]:
    """Changes of a module that compute the same, with the reason."""
    listed = [entry for entry in config.get("equivalent", []) if entry["module"] == module]
    return {(e["before"], after): e["why"] for e in listed for after in e["after"]}


def _key(entry: dict[str, str]) -> tuple[str, str]:
    return entry["before"], entry["after"]


def _place(entry: dict[str, str]) -> tuple[int, str]:
    return int(entry["at"].rsplit(":", 1)[1]), entry["operator"]


def _totals(found: dict[str, dict[str, Any]]) -> dict[str, int]:
    size = {True: len, False: int}
    names = ("mutants", "killed", "survivors", "equivalent", "wrongly called equivalent")
    return {
        name: sum(size[isinstance(part[name], list)](part[name]) for part in found.values())
        for name in names
    }


if __name__ == "__main__":
    sys.exit(main())
