"""``python -m tests.tutorials``: the networks of lava-dl's tutorials, from training to Lava.

Writes ``docs/slayer_tutorials.json`` and the table of ``docs/slayer.md``; some minutes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from neuroport.backends.trace import versions
from neuroport.files import write_atomic, write_json
from tests.tutorials.page import PAGE, RESULTS, page
from tests.tutorials.road import TUTORIALS, travel


def main() -> int:
    networks = {}
    for name in TUTORIALS:
        with tempfile.TemporaryDirectory(prefix="neuroport-tutorial-") as folder:
            networks[name] = travel(name, Path(folder), whole=True)
        print(name, networks[name], flush=True)
    packages = versions("lava-nc", "lava-dl", "torch", "numpy")
    results = {"versions": packages, "networks": networks}
    write_json(RESULTS, results)
    write_atomic(PAGE, page(results, PAGE.read_text()))
    return min(1, sum(found["differ"] for found in networks.values()))


if __name__ == "__main__":
    sys.exit(main())
