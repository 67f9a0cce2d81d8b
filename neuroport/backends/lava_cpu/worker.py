"""The child process in which Lava runs: ``python -m neuroport.backends.lava_cpu.worker FOLDER``.

FOLDER holds ``job.json`` (network file, steps) and ``frames.npy`` (steps, size). The worker builds
Lava processes from the network *file*, writes one ``<index>.npy`` per population, prints a JSON
line per progress report, and ends with ``done.json`` or ``error.json``. Lava hangs for ever when a
process model fails, so the run is polled and, on failure, every actor is ended by force.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.files import read_json, write_json
from neuroport.graph.store import load

POLL_SECONDS = 0.02


class ActorError(RuntimeError):
    """A Lava process model failed; holds Lava's own traceback."""


def run(folder: Path) -> dict[str, float]:
    """Execute the job in ``folder``; returns the seconds of each phase."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    from neuroport.backends.lava_cpu.build import build
    from neuroport.backends.lava_cpu.processes.fixed_pt import RasterSink

    job = read_json(folder / "job.json")
    graph = load(job["net"])
    steps = int(job["steps"])
    marks = [time.perf_counter()]
    processes = build(graph, str(folder / "frames.npy"))
    for index, node in enumerate(graph.populations):
        size = int(np.prod(graph.facts(node.name).shape))
        path = str(folder / f"{index}.npy")
        np.save(path, np.zeros((steps, size), np.int32))
        sink = RasterSink(path=path, size=size)
        processes[node.name].s_out.connect(sink.a_in)
    anchor = processes[graph.input.name]
    marks.append(time.perf_counter())
    runtime = None
    try:
        anchor.create_runtime(run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        runtime = anchor.runtime
        marks.append(time.perf_counter())
        done = 0
        while done < steps:
            count = min(int(job["chunk"]), steps - done)
            anchor.run(condition=RunSteps(num_steps=count, blocking=False))
            _wait(runtime)
            done += count
            print(json.dumps({"done": done, "steps": steps}), flush=True)
        marks.append(time.perf_counter())
        anchor.stop()
        marks.append(time.perf_counter())
    except BaseException:
        _end(runtime or getattr(anchor, "_runtime", None))
        raise
    names = ("build", "compile", "run", "stop")
    return {name: round(b - a, 3) for name, a, b in zip(names, marks[:-1], marks[1:], strict=True)}


def _wait(runtime: Any) -> None:
    """Wait for the steps just asked for; raise when an actor failed instead."""
    while not all(port.probe() for port in runtime.service_to_runtime):
        for actor in runtime._messaging_infrastructure.actors:
            if actor.exception is not None:
                raise ActorError(actor.exception[1])
            if not actor.is_alive():
                raise ActorError(f"Lava process {actor.name} ended with exit code {actor.exitcode}")
        time.sleep(POLL_SECONDS)
    runtime.wait()


def _end(runtime: Any) -> None:
    """End every actor by force and return the shared memory."""
    infrastructure = getattr(runtime, "_messaging_infrastructure", None)
    if infrastructure is None:
        return
    for actor in infrastructure.actors:
        if actor._parent_pid == os.getpid() and not actor._closed:
            actor.kill()
    if infrastructure.smm is not None:
        infrastructure.smm.shutdown()
    runtime._is_started = False


def main() -> None:
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        write_json(folder / "done.json", {"seconds": run(folder)})
        code = 0
    except SystemExit:
        code = 143
    except BaseException as error:
        detail = str(error) if isinstance(error, ActorError) else traceback.format_exc()
        write_json(folder / "error.json", {"summary": _summary(detail), "traceback": detail})
        code = 1
    sys.stdout.flush()
    os._exit(code)  # Lava's own exit handlers can hang


def _summary(detail: str) -> str:
    lines = [line for line in detail.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "unknown failure"


if __name__ == "__main__":
    main()
