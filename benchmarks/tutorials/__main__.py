"""``python -m benchmarks.tutorials [NAME ...]``: networks of lava-dl's tutorials, trained and run.

Without names all of them, in some minutes. Writes ``docs/slayer_tutorials.json`` and the table of
``docs/slayer.md``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.tutorials.page import PAGE, RESULTS, page
from benchmarks.tutorials.road import TUTORIALS, travel
from neuroport.files import read_json, write_atomic, write_json
from neuroport.runs.trace import versions


def main(*names: str) -> int:
    networks = read_json(RESULTS)["networks"] if names else {}
    for name in names or TUTORIALS:
        with tempfile.TemporaryDirectory(prefix="neuroport-tutorial-") as folder:
            networks[name] = travel(name, Path(folder), whole=True)
        print(name, networks[name], flush=True)
    packages = versions("lava-nc", "lava-dl", "torch", "numpy")
    results = {"versions": packages, "networks": {name: networks[name] for name in TUTORIALS}}
    write_json(RESULTS, results)
    write_atomic(PAGE, page(results, PAGE.read_text()))
    return min(1, sum(found["differ"] for found in networks.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
