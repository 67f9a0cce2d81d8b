"""Leave a network's stem to the host: write the network behind it, and the frames that it sends.

    python host_stem.py INTEGERS.graph FRAMES.npy OUT.graph OUT.npy

INTEGERS is what `neuroport quantize` wrote, not lowered yet. OUT.graph is to be lowered for the
board (`neuroport lower OUT.graph --target kapoho-point -o chip.graph`) and run on OUT.npy: every
population in it sends what it sends in the whole network. Not run on hardware.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np

import neuroport as port
from neuroport.backends.loihi2.host_stem import hosted
from neuroport.errors import NeuroportError, StorageError
from neuroport.files import check_file, write_atomic
from neuroport.graph.store import save
from neuroport.runs.frames import load_frames


def main(graph: str, frames: str, out: str, out_frames: str) -> None:
    paths = [os.path.realpath(name) for name in (graph, frames, out, out_frames)]
    if len(set(paths)) < len(paths):
        raise StorageError(f"{out}, {out_frames}: each file needs a name of its own")
    for name in (out, out_frames):
        check_file(name)
    found, sent = hosted(port.read(graph), load_frames(frames))
    write_atomic(out_frames, lambda file: np.save(file, sent))
    print(f"wrote {save(found, Path(out))}: {len(found)} nodes; {out_frames}: {sent.shape}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for what in ("graph", "frames", "out", "out_frames"):
        parser.add_argument(what)
    try:
        main(**vars(parser.parse_args()))
    except NeuroportError as error:
        print(f"host_stem.py: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
