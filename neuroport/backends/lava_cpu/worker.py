"""The child process in which Lava runs, as :mod:`.supervisor` starts it, with a folder.

FOLDER holds ``job.json`` (network file, steps, what to keep and what to count) and ``frames.npy``
(steps, size). The worker builds Lava processes from the network *file*, writes one ``<index>.npy``
per recorded population, a row per step or, where it is counted, per sample, prints a JSON line per
progress report, and ends with ``done.json`` or ``error.json``. Lava hangs for ever when a process
model fails; a thread (:mod:`~neuroport.backends.lava_cpu.failure_monitor`) notices, reports the
error and ends the worker, wherever Lava is stuck. When asked to end (SIGTERM), the worker writes to
``stuck.txt`` how far the job came.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from multiprocessing.managers import SharedMemoryManager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from neuroport.backends.lava_cpu.failure_monitor import (
    LAST_WORDS_SECONDS,
    Watch,
    last_line,
    tell_tracebacks,
)
from neuroport.backends.lava_cpu.newer_python import prepare
from neuroport.errors import StorageError
from neuroport.files import read_json, write_atomic, write_json
from neuroport.graph.foreign_kinds import take_along
from neuroport.graph.graph import Graph
from neuroport.graph.store import load
from neuroport.processes import SEGMENTS, die_with_parent

# a channel never holds more than one: every process has received before any begins another step;
# Lava would keep 64, hundreds of megabytes that no cache holds
MESSAGES_IN_FLIGHT = 2
DONE_POLL_SECONDS = 0.0005  # short: nothing runs until the end of a chunk is noticed
FEW = 3  # populations that an error names of one process
FRAMES_PER_NODE = 10  # of Python's stack; a node becomes a few Lava processes


def allow_for(graph: Graph) -> None:
    """Let Lava build large networks: deep recursion, and forks that copy little.

    Lava's compiler recurses once for every process. Then it forks each process; a collector that
    visits what was inherited writes to it, and each process would get a copy of the whole network.
    """
    sys.setrecursionlimit(sys.getrecursionlimit() + FRAMES_PER_NODE * len(graph))
    os.register_at_fork(before=gc.freeze)


class Terminated(BaseException):
    """The engine asks the worker to end."""


def checked(graph: Graph, job: dict[str, Any]) -> Graph:
    """Read the network; refuse any but the one that the engine checked and named in the trace."""
    if graph.hash != job["graph"]:
        raise StorageError(f"{job['net']}: its content changed after it was checked; run it again")
    return graph


class Worker:
    """One job: builds, runs, and ends in exactly one way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._anchor: Any = None
        self.built: dict[str, int] = {}  # class of Lava processes -> how many
        self._watch: Watch | None = None
        self._ending = threading.RLock()  # the thread that holds it ends the process

    def run(self) -> dict[str, float]:
        """Execute the job; returns the seconds of each phase."""
        from lava.magma.core.run_conditions import RunSteps

        from neuroport.backends.lava_cpu.build import build
        from neuroport.backends.lava_cpu.run_config import Simulated

        job = read_json(self.folder / "job.json")
        take_along(job["kinds"])
        graph = checked(load(job["net"]), job)
        allow_for(graph)
        steps = int(job["steps"])
        marks = [time.perf_counter()]
        fused = job["processes"] == "fused"
        samples = int(job["samples"])
        processes = build(graph, str(self.folder / "frames.npy"), fused, samples)
        names = self._names(processes)
        for index, node in enumerate(graph.populations):
            path = self.folder / f"{index}.npy"
            if node.name in job["kept"]:
                names |= self._sink(graph, node.name, processes[node.name], path, steps)
            elif node.name in job["counted"]:
                names |= self._counter(graph, node.name, processes[node.name], path, job)
        self._anchor = anchor = processes[graph.input.name]
        search_models_once()
        marks.append(time.perf_counter())
        self.watch_over(names)
        anchor.create_runtime(
            run_cfg=Simulated(),
            compile_config={"pypy_channel_size": MESSAGES_IN_FLIGHT},
        )
        marks.append(time.perf_counter())
        done = 0
        while done < steps:
            count = min(int(job["chunk"]), steps - done)
            # polled: a run that was left to Lava's own waiting (a selector's) was seen to hang
            anchor.run(condition=RunSteps(num_steps=count, blocking=False))
            while not all(port.probe() for port in anchor.runtime.service_to_runtime):
                time.sleep(DONE_POLL_SECONDS)
            anchor.runtime.wait()
            done += count
            print(json.dumps({"done": done, "steps": steps}), flush=True)
        marks.append(time.perf_counter())
        self.stop()
        marks.append(time.perf_counter())
        phases = ("build", "compile", "run", "stop")
        return {n: round(b - a, 3) for n, a, b in zip(phases, marks[:-1], marks[1:], strict=True)}

    def watch_over(self, names: dict[Any, str]) -> None:
        """From now on notice failures of Lava's processes; ``names`` is what each stands for."""
        kinds = Counter(f"{type(own).__module__}.{type(own).__name__}" for own in names)
        self.built = dict(sorted(kinds.items()))
        tell_tracebacks(self.folder)
        tell_segments(self.folder / SEGMENTS)
        self._watch = Watch(self.folder, self._runtime, names, self.fail)
        self._watch.start()

    def stop(self) -> None:
        """Let Lava's processes end: their work is done."""
        assert self._watch is not None
        self._watch.stopping = True
        self._anchor.stop()

    def _names(self, processes: dict[str, Any]) -> dict[Any, str]:
        """Return the populations that each process stands for; a fused one stands for several."""
        names: dict[Any, list[str]] = {}
        for name, process in processes.items():
            names.setdefault(getattr(process, "process", process), []).append(name)
        more = {own: len(held) - FEW for own, held in names.items()}
        return {
            own: ", ".join(held[:FEW]) + (f" and {more[own]} more" if more[own] > 0 else "")
            for own, held in names.items()
        }

    def _sink(
        self, graph: Graph, name: str, process: Any, path: Path, steps: int
    ) -> dict[Any, str]:
        """Record what a population sends, step by step; the process that does it, if it is new."""
        from neuroport.backends.lava_cpu.processes.fixed_pt import RasterSink
        from neuroport.backends.lava_cpu.run_config import record

        if hasattr(process, "record"):
            process.record(path, steps)
            return {}
        if graph[name].kind == "readout":  # Lava's own neuron, which sends nothing
            record(process, path, steps)
            return {}
        size = int(np.prod(graph.facts(name).shape))
        np.save(path, np.zeros((steps, size), np.int32))
        sink = RasterSink(path=str(path), size=size)
        process.s_out.connect(sink.a_in)
        return {sink: name}

    def _counter(
        self, graph: Graph, name: str, process: Any, path: Path, job: dict[str, Any]
    ) -> dict[Any, str]:
        """Processes that count what a population sends, and write a row per sample.

        None where the process that holds the population counts inside.
        """
        from neuroport.backends.lava_cpu.counters import count, reader
        from neuroport.runs.recording import counters

        if job["inside"] and hasattr(process, "count"):
            facts = graph.facts(name)
            number = int(np.prod(counters(facts.shape, job["granularity"])))
            process.count(path, int(job["samples"]), number, facts.latency + 1, graph)
            return {}
        counter = count(graph, name, process, job["granularity"])
        np.save(path, np.zeros((int(job["samples"]), counter.size), np.int32))
        reading = reader(counter, str(path), graph.interval)
        return {counter.process: f"counter of {name}", reading: f"reader of {name}"}

    def finish(self, seconds: dict[str, float]) -> NoReturn:
        """Report success, and end."""
        write_json(self.folder / "done.json", {"seconds": seconds, "built": self.built})
        self._ending.acquire()
        self._exit(0)

    def fail(self, summary: str, detail: str) -> NoReturn:
        """Report a failure, end every actor, and end."""
        self._ending.acquire()
        try:
            write_json(self.folder / "error.json", {"summary": summary, "traceback": detail})
        except StorageError as error:
            print(detail, summary, error, sep="\n", file=sys.stderr, flush=True)
        self._end_actors()
        self._exit(1)

    def listen(self) -> None:
        """Let the watch speak first: Lava fails here, too, when one of its actors did."""
        if self._watch is not None:
            self._watch.join(2 * LAST_WORDS_SECONDS)

    def give_up(self, error: Terminated) -> NoReturn:
        """Report how far the job came, end every actor, and end."""
        self._ending.acquire()
        with contextlib.suppress(Exception):
            stuck = self._watch.stuck() if self._watch is not None else ""
            here = "".join(traceback.format_tb(error.__traceback__))
            where = stuck or f"the process that Lava was started in was here:\n{here}"
            write_atomic(self.folder / "stuck.txt", where)
        self._end_actors()
        self._exit(143)

    def _runtime(self) -> Any:
        return getattr(self._anchor, "_runtime", None)

    def _end_actors(self) -> None:
        """End every actor by force and return the shared memory; the engine ends what is left."""
        infrastructure = getattr(self._runtime(), "_messaging_infrastructure", None)
        if infrastructure is None:
            return
        with contextlib.suppress(Exception):
            for actor in list(infrastructure.actors):
                if not actor._closed:
                    actor.kill()
        with contextlib.suppress(Exception):
            infrastructure.smm.shutdown()

    def _exit(self, code: int) -> NoReturn:
        sys.stdout.flush()
        os._exit(code)  # Lava's own exit handlers can hang, and the main thread be stuck in Lava


def search_models_once() -> None:
    """Let Lava search for the models of a class of processes once, not once per process.

    It executes every file beside the class's own, which takes longer than all else that it does
    before the first step.
    """
    from lava.magma.compiler.compiler_graphs import ProcGroupDiGraphs

    search, found = ProcGroupDiGraphs._find_proc_models, {}

    def once(proc: Any) -> list[Any]:
        if type(proc) not in found:
            found[type(proc)] = search(proc)
        return list(found[type(proc)])

    ProcGroupDiGraphs._find_proc_models = staticmethod(once)


def tell_segments(path: Path) -> None:
    """Keep the names of shared memory, and let the process that holds it end with this one."""
    make, start = SharedMemoryManager.SharedMemory, SharedMemoryManager.start

    def told(self: SharedMemoryManager, size: int) -> Any:
        segment = make(self, size)
        with open(path, "a") as names:
            names.write(f"{segment.name}\n")
        return segment

    def started(self: SharedMemoryManager, *_: Any) -> None:
        start(self, die_with_parent, (os.getpid(),))

    SharedMemoryManager.SharedMemory = told  # type: ignore[method-assign]
    SharedMemoryManager.start = started  # type: ignore[method-assign,assignment]


def main(kind: type[Worker] = Worker) -> None:
    def terminate(*_: Any) -> NoReturn:
        raise Terminated

    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGTERM, terminate)
    faulthandler.enable(all_threads=False)  # a crash in native code shows where
    worker = kind(Path(sys.argv[1]))
    try:
        prepare()
        worker.finish(worker.run())
    except Terminated as error:
        worker.give_up(error)
    except BaseException:
        detail = traceback.format_exc()
        worker.listen()
        worker.fail(last_line(detail), detail)


if __name__ == "__main__":
    main()
