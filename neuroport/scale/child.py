"""The child process in which a shard runs; :mod:`neuroport.scale.task` starts it, with a folder.

FOLDER holds ``job.json``, ``frames.npy`` and up to two graphs. The child writes ``result`` (a
trace, a comparison as JSON, or a point of a sweep), or ``error.json``. Where it reaches the folder
of its run, a trace goes straight there, and ``there`` is written instead of ``result``. Asked to
end (SIGTERM) it ends what it started.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.errors import CompareError, NeuroportError, StorageError
from neuroport.files import read_json, write_atomic, write_json
from neuroport.graph.foreign_kinds import take_along
from neuroport.graph.store import load
from neuroport.processes import Ended, die_with_parent, end_by, ending_on_signals
from neuroport.scale.shard_folder import reached

JOB, FRAMES, RESULT, ERROR = "job.json", "frames.npy", "result", "error.json"
THERE = "there"
GRAPHS = ("first.graph", "second.graph")


def work(folder: Path) -> None:
    """Run the shard in a folder."""
    job = read_json(folder / JOB)
    take_along(job["kinds"])
    frames = np.load(folder / FRAMES, mmap_mode="r", allow_pickle=False)
    graphs = [load(folder / name) for name in GRAPHS[: job["graphs"]]]
    run = {"record": _record, "verify": _verify, "sweep": _sweep}[job["verb"]]
    run(folder, job, graphs, frames)


def _record(folder: Path, job: dict[str, Any], graphs: list[Any], frames: Any) -> None:
    from neuroport.engines.streaming import in_parts
    from neuroport.runs.merging import whole_provenance
    from neuroport.runs.trace_file import TraceWriter

    with TraceWriter(folder / RESULT, frames.shape[1]) as writer:
        done = []
        for trace in in_parts(graphs[0], frames, job["on"][0], **job["options"]):
            writer.append(trace)
            done.append(trace.provenance)
        about = whole_provenance(done, frames, job["shard"])
        if place := reached(job):
            writer.path = place
            with suppress(StorageError):  # a full disk, or quota: the worker sends it
                writer.finish(about)
                (folder / THERE).touch()
                return
            writer.path = folder / RESULT
        writer.finish(about)


def _verify(folder: Path, job: dict[str, Any], graphs: list[Any], frames: Any) -> None:
    from neuroport.analysis.verify import verify_shard

    found = verify_shard(
        graphs[0],
        graphs[-1],
        frames,
        on=tuple(job["on"]),
        together=job["together"],
        told=job["shard"],
        options=job["options"],
    )
    write_json(folder / RESULT, found.to_dict())


def _sweep(folder: Path, job: dict[str, Any], graphs: list[Any], frames: Any) -> None:
    from neuroport.scale.sweep_point import content_of, packed, point
    from neuroport.targets.target import load_target

    if content_of(load_target(job["target"])) != job["values"]:
        raise CompareError(
            f"{job['target']} was edited while the sweep ran, or is another file on the worker's "
            "machine; restore it, or copy it there, and give the same command again"
        )
    place = reached(job) or folder / "point"
    point(job["recipe"], job["changes"], place, job["target"])
    write_atomic(folder / RESULT, packed(place))


def main() -> None:
    folder = Path(sys.argv[1])
    die_with_parent(int(sys.argv[2]))
    try:
        with ending_on_signals():
            work(folder)
    except Ended as error:
        end_by(error.number)
    except NeuroportError as error:
        told = {"kind": type(error).__name__, "message": error.message, "detail": error.detail}
        write_json(folder / ERROR, told)
        sys.exit(1)


if __name__ == "__main__":
    main()
