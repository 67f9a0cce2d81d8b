"""The child process of a run on a board, started like the CPU engine's.

It extends the CPU engine's worker. It sends frames through an adapter and calls ``run()`` once. The
result is counts and potentials read once per sample, or every message, or the results of one
logger.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.backends.lava_cpu.worker import Worker, allow_for, checked, main
from neuroport.backends.loihi2.axis_order import flat_order, lava_shape
from neuroport.backends.loihi2.site import Site
from neuroport.files import read_json, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.store import load
from neuroport.runs.trace import is_readout

FIGURES = "figures.json"


class BoardWorker(Worker):
    """One run on a board."""

    def run(self) -> dict[str, float]:
        """Execute the job; return the seconds of each phase."""
        job = read_json(self.folder / "job.json")
        self.job, self.site = job, Site(**job["site"])
        from neuroport.backends.loihi2.host_connection import reach

        reach(self.site)
        from lava.magma.core.run_conditions import RunSteps

        from neuroport.backends.loihi2.build import build
        from neuroport.backends.loihi2.run_config import HardwareOnly

        marks = [time.perf_counter()]
        graph = checked(load(job["net"]), job)
        allow_for(graph)
        frames = (str(self.folder / "map.npy"), str(self.folder / "flat.npy"))
        self.late = int(job["late"])
        network = build(graph, frames, self.late, self._biases(graph), job["logger"] != "")
        self._anchor = network.anchor
        self.probes: dict[Path, Any] = {}
        callbacks = self._outputs(graph, network)
        if job["logger"]:
            from neuroport.backends.loihi2.loggers import figures, logger

            callbacks = [told := logger(job["logger"], job["steps"])]
        marks.append(time.perf_counter())
        self.watch_over(network.names)
        self._anchor.create_runtime(run_cfg=HardwareOnly(callback_fxs=callbacks))
        marks.append(time.perf_counter())
        self._anchor.run(condition=RunSteps(num_steps=int(job["steps"])))
        marks.append(time.perf_counter())
        for path, probe in self.probes.items():
            np.save(path, np.asarray(probe.time_series).reshape(-1, int(job["steps"])).T)
        self.stop()
        marks.append(time.perf_counter())
        if job["logger"]:
            write_json(self.folder / FIGURES, figures(job["logger"], told))
        phases = ("build", "compile", "run", "stop")
        return {n: round(b - a, 3) for n, a, b in zip(phases, marks[:-1], marks[1:], strict=True)}

    def _biases(self, graph: Graph) -> dict[str, Any]:
        if not self.job["by_bias"]:
            return {}
        from neuroport.backends.loihi2.bias_input import biases

        return biases(graph, np.load(self.folder / "frames.npy"))

    def _outputs(self, graph: Graph, network: Any) -> list[Any]:
        """Connect the recorded populations; return the probes."""
        for index, node in enumerate(graph.populations):
            path = self.folder / f"{index}.npy"
            if node.name in self.job["counted"]:
                self._count(graph, network, node.name, path)
            elif node.name in self.job["kept"]:
                if not is_readout(node.kind):
                    self._messages(graph, network, node.name, path)
                elif self.job["every_step"]:
                    from lava.utils.loihi2_state_probes import StateProbe

                    self.probes[path] = StateProbe(network.populations[node.name].v)
                else:
                    process, facts = network.populations[node.name], graph.facts(node.name)
                    after = facts.latency + graph.steps + self.late
                    name = f"readout {node.name}"
                    self._read(
                        graph, network, name, process.v, lava_shape(facts.shape), path, after
                    )
        return list(self.probes.values())

    def _count(self, graph: Graph, network: Any, name: str, path: Path) -> None:
        from neuroport.backends.lava_cpu.counters import count_spikes

        shape = graph.facts(name).shape
        counter = count_spikes(
            graph,
            name,
            network.flat(name),
            self.job["granularity"],
            columns=flat_order(shape),
            late=self.late,
        )
        network.names[counter.process] = f"counter of {name}"
        after, what = counter.read_at, f"counts of {name}"
        self._read(graph, network, what, counter.state, (counter.size,), path, after)

    def _read(
        self,
        graph: Graph,
        network: Any,
        name: str,
        state: Any,
        shape: tuple[int, ...],
        path: Path,
        after: int,
    ) -> None:
        """Read a state after time step ``after + n * interval`` (Lava's, from 1) of sample n."""
        from lava.proc.embedded_io import state as embedded

        from neuroport.backends.loihi2.processes.host import StateFile

        kind = embedded.Read if len(shape) == 1 else embedded.ReadConv
        offset = (after - 1) % graph.interval
        reader = kind(shape=shape, interval=graph.interval, offset=offset)
        first = after + self.site.read_delay
        np.save(path, np.zeros((int(self.job["samples"]), *shape), np.int32))
        file = StateFile(path=str(path), shape=shape, first=first, interval=graph.interval)
        reader.connect_var(state)
        reader.out.connect(file.a_in)
        network.names |= {reader: f"reader of {name}", file: f"file of {name}"}

    def _messages(self, graph: Graph, network: Any, name: str, path: Path) -> None:
        from lava.proc.embedded_io.spike import NxToPyAdapter

        from neuroport.backends.loihi2.build import message_bits
        from neuroport.backends.loihi2.processes.host import MessageFile

        shape = lava_shape(graph.facts(name).shape)
        adapter = NxToPyAdapter(shape=shape, num_message_bits=message_bits(graph, graph[name]))
        np.save(path, np.zeros((int(self.job["steps"]), *shape), np.int32))
        file = MessageFile(path=str(path), shape=shape)
        network.populations[name].s_out.connect(adapter.inp)
        adapter.out.connect(file.a_in)
        network.names |= {adapter: f"adapter of {name}", file: f"file of {name}"}


if __name__ == "__main__":
    main(BoardWorker)
