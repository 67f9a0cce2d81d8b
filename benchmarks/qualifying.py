"""``python -m benchmarks.qualifying``: stand-ins wrong in one construct each, and what is found.

``neuroport qualify`` runs whole on the honest stand-ins, with delays that the site does not know,
and once for every fault of ``tests/standins/standin_faults``, with the constructs that must differ
and some that must not (``--whole``: with all). What it named is written to ``docs/qualifying.json``
as soon as it is there; it goes on where it was. **Nothing is run on hardware.**
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from neuroport.files import write_json
from neuroport.targets.board_record import BoardRecord, load_record
from neuroport.targets.qualification_networks import CONSTRUCTS

ROOT = Path(__file__).resolve().parents[1]
STANDINS = ROOT / "tests" / "standins"
RESULT = ROOT / "docs" / "qualifying.json"
SITE = 'board = "kapoho-point"\nchips = 8\n[slurm]\npartition = "kp"\n'
HONEST = ("honest", {"input_delay": 1, "output_delay": 2})

# asked with every fault; only those that a fault names may differ
AROUND = ("spikes", "readout", "convolution", "merged-2", "exponent-7", "relay", "rounding-10")
# each fault: the constructs that must differ, the first of which is named first
EXPECTED: dict[str, tuple[str, ...]] = {
    "resets": ("resets",),
    "biases": ("biases",),
    "leaks": ("leaks",),
    "currents": ("currents",),
    "thresholds of 16 bits": ("readout-range",),
    "one synapse": ("merged-2", "merged-8", "merged-32"),
    "four synapses": ("merged-8", "merged-32"),
    "weights": ("weights",),
    "exponents": ("exponent-10", "exponent-15"),
    "counters": ("counters",),
    "counters together": ("counters-shared",),
    "readers": ("readout-range",),
    "kernels": ("convolution", "merged-2", "relay"),
    "strides": ("strides",),
    "blocks of zeros": ("grouped",),
    "columns": ("width-256", "width-512"),
    "frames of 7 bits": ("graded-frames", "relay"),
    "signs": ("relay", "relay-24"),
    "messages of 20 bits": ("relay-24",),
    "half units": ("rounding-10", "rounding-12"),
    "products of 16 bits": ("rounding-20", "rounding-24"),
    "ones": ("rounding-10",),
}


def environment(folder: Path, **chosen: Any) -> dict[str, str]:
    """Where the stand-ins are, Slurm answers, and a site's file lies in ``folder``."""
    (folder / "bin").mkdir(exist_ok=True)
    sinfo = folder / "bin" / "sinfo"
    sinfo.write_text("#!/bin/sh\necho 'PARTITION AVAIL'\necho 'kp up'\n")
    sinfo.chmod(0o755)
    (folder / "site.toml").write_text(SITE)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (STANDINS, ROOT))),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "NEUROPORT_STANDIN": json.dumps(chosen),
    }


def qualified(
    chosen: dict[str, Any], only: tuple[str, ...] = (), deadline: float = 120.0
) -> tuple[BoardRecord, str, int]:
    """The record of ``neuroport qualify`` on such stand-ins, what was said, and the exit code."""
    with tempfile.TemporaryDirectory(prefix="qualify-") as name:
        folder = Path(name)
        command = [
            *(sys.executable, "-m", "neuroport", "qualify", "--site", str(folder / "site.toml")),
            *("-o", str(folder / "record.json"), "--deadline", str(deadline)),
            *(part for each in only for part in ("--only", each)),
        ]
        done = subprocess.run(
            command, env=environment(folder, **chosen), capture_output=True, text=True
        )
        if not (folder / "record.json").exists():
            raise RuntimeError(done.stdout + done.stderr)
        return load_record(folder / "record.json"), done.stdout + done.stderr, done.returncode


def asked(fault: str) -> tuple[str, ...]:
    """The constructs with which a fault is tried, in their order."""
    return tuple(name for name in CONSTRUCTS if name in (*AROUND, *EXPECTED[fault]))


def row(record: BoardRecord) -> dict[str, Any]:
    """What a table holds of a record."""
    results = record.constructs
    return {
        "networks": {name: found.network for name, found in results.items()},
        "timing": record.timing,
        "results": {name: found.result for name, found in results.items()},
        "where": {name: found.where for name, found in results.items() if found.where},
    }


def joined(old: dict[str, Any], new: dict[str, Any], wanted: tuple[str, ...]) -> dict[str, Any]:
    """A row of which some constructs were run again."""
    tables = {
        key: {name: table[name] for name in CONSTRUCTS if name in wanted and name in table}
        for key in ("networks", "results", "where")
        for table in ({**old.get(key, {}), **new[key]},)
    }
    for name in new["results"]:  # what is equal now differs nowhere
        if name not in new["where"]:
            tables["where"].pop(name, None)
    return {**tables, "timing": new["timing"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="faults whose name holds this")
    parser.add_argument("--whole", action="store_true", help="all constructs with every fault")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    today = {name: construct.network()[0].hash for name, construct in CONSTRUCTS.items()}
    ways = dict([HONEST, *((fault, {"wrong": fault}) for fault in EXPECTED)])
    for name, chosen in ways.items():
        if options.only and options.only not in name:
            continue
        wanted = tuple(today) if options.whole or name not in EXPECTED else asked(name)
        known = found.get(name, {}).get("networks", {})
        stale = [each for each in wanted if known.get(each) != today[each]]
        if not stale:
            continue
        # delays are found by the first of them
        new = row(qualified(chosen, tuple(dict.fromkeys((*AROUND[:2], *stale))))[0])
        found[name] = joined(found.get(name, {}), new, wanted)
        write_json(options.out, found)
        told = {k: v for k, v in found[name]["results"].items() if v != "equal"}
        print(name, found[name]["timing"], told, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
