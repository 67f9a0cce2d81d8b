"""Run a network on Lava's CPU simulator and compare it with the reference.

    python run.py NETWORK.net FRAMES.npy OUT [--record messages] [--deadline SECONDS]

The twin of deploy/loihi2/run.py, without its site and what only a board tells. OUT is a folder:
``simulator.trace`` (counts of messages, or every message), ``reference.trace``,
``comparison.json``. Exit code 0: equal; 1: not, or the network is illegal; 2: the rest.
"""

import argparse
import sys
from pathlib import Path

import neuroport as port
from neuroport.errors import NeuroportError
from neuroport.files import check_folder, write_json
from neuroport.runs.frames import load_frames


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("network", "frames", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--record", default="counts", choices=("counts", "messages"))
    parser.add_argument("--deadline", type=float, default=600.0)
    asked = parser.parse_args()
    check_folder(asked.out)
    frames = load_frames(asked.frames)
    got = port.run(
        asked.network, frames, on="lava-cpu", record=asked.record, deadline=asked.deadline
    )
    got.save(asked.out / "simulator.trace")
    want = port.run(asked.network, frames)
    want.save(asked.out / "reference.trace")
    outcome = port.compare(want, got)
    write_json(asked.out / "comparison.json", outcome.to_dict())
    print(outcome)
    return 0 if outcome else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NeuroportError as error:
        print(f"run.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
