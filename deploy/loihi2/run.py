"""Run a network on a Loihi 2 board, compare it with the reference, and store what was measured.

    python run.py NETWORK.net FRAMES.npy SITE.toml OUT [--record messages] [--frames-by bias]
                  [--no-measure] [--deadline SECONDS]

NOT RUN ON HARDWARE by its authors: no board was at hand. docs/loihi2.md says what to check first.

FRAMES is (T, N, C, H, W), integers. OUT is a folder: ``board.trace`` (counts of spikes, or every
message), ``reference.trace``, ``comparison.json`` and, without --no-measure, ``measurement.json``:
power, time and energy of a sample, what every logger told, and what speaks against the numbers.
Exit code 0: the board equals the reference; 1: it does not, or the network is illegal; 2: the rest.
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
    for name in ("network", "frames", "site", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--record", default="counts", choices=("counts", "messages"))
    parser.add_argument("--frames-by", default="messages", choices=("messages", "bias"))
    parser.add_argument("--no-measure", action="store_true")
    parser.add_argument("--deadline", type=float, default=600.0)
    asked = parser.parse_args()
    check_folder(asked.out)
    frames = load_frames(asked.frames)
    got = port.run(
        asked.network,
        frames,
        on="loihi2",
        site=asked.site,
        record=asked.record,
        frames_by=asked.frames_by,
        measure=not asked.no_measure,
        deadline=asked.deadline,
    )
    got.save(asked.out / "board.trace")
    hardware = got.provenance["hardware"]
    print(hardware["status"])
    if not asked.no_measure:
        print(f"wrote {write_json(asked.out / 'measurement.json', hardware)}")
        for doubt in hardware.get("measurement", {"doubts": ()})["doubts"]:
            print(f"doubt: {doubt}")
        if "not_measured" in hardware:
            print(f"not measured: {hardware['not_measured']}")
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
