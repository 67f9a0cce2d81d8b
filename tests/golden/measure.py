"""Measure every golden network in full, on every engine, into ``results.json``.

python -m tests.golden.measure
"""

from __future__ import annotations

import json
from pathlib import Path

from neuroport.runs.trace import versions
from tests.golden.check import differences
from tests.golden.shipped import GOLDENS

RESULTS = Path(__file__).with_name("results.json")
ENGINES = ("reference", "fast", "lava-cpu")


def main() -> None:
    found = {}
    for name, golden in GOLDENS.items():
        found[name] = {engine: differences(golden(), engine) for engine in ENGINES}
        print(name, found[name], flush=True)
    packages = versions("lava-nc", "lava-dl", "numpy", "torch")
    RESULTS.write_text(json.dumps({"versions": packages, "networks": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
