"""The whole path of the engine ``loihi2``, with stand-ins for Lava's closed modules alone.

Spikes flow through Lava's fixed-point CPU processes, chosen by Lava's own ``Loihi2HwCfg`` as models
for neuron cores (``tests/standins``). Nothing here says what a board does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.backends.loihi2.measured import STATUS
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Node, Readout, Relay
from neuroport.graph.store import save
from neuroport.runs.recording import counted
from neuroport.runs.trace import Trace
from neuroport.targets.qualification_networks import CONSTRUCTS
from tests.helpers.shapes import Shape, frames_for, ms_resnet, plain

pytestmark = [pytest.mark.lava, pytest.mark.slow]

STANDINS = Path(__file__).resolve().parents[1] / "standins"
FIGURES = {
    "power": {"total_power": [3.0, 3.2], "static_total_power": 1.6, "vdd_power": [2.0, 2.5]},
    "time": {"avg_time_per_step": 12.5},
    "activity": {
        "core_idx": [0, 1, 0],
        "chip_idx": [0, 0, 1],
        "syn_ops": [5, 6, 7],
        "dendrite_updates": [7, 8, 9],
        "axon_out": [1, 2, 3],
        "spikes_in": [3, 4, 5],
    },
    "memory": {"total_mpds": [9, 10]},
}
Call = Callable[..., "subprocess.CompletedProcess[str]"]


class Board:
    """A site with stand-ins: Slurm that answers, and a folder for whatever a run may leave."""

    def __init__(self, folder: Path, neuroport: Call) -> None:
        self.folder, self.neuroport = folder, neuroport
        self.standins, self.site = STANDINS, folder / "site.toml"
        (folder / "bin").mkdir()
        (folder / "tmp").mkdir()
        sinfo = folder / "bin" / "sinfo"
        sinfo.write_text("#!/bin/sh\necho 'PARTITION AVAIL'\necho 'kp up'\n")
        sinfo.chmod(0o755)

    def run(
        self,
        graph: Graph,
        frames: np.ndarray,
        *options: str,
        input_delay: int = 0,
        output_delay: int = 0,
        read_delay: int = 1,
        code: int = 0,
    ) -> Any:
        """The trace of ``neuroport run --on loihi2``, or what it said where it is to fail."""
        net, given, trace = (self.folder / name for name in ("n.net", "f.npy", "t.trace"))
        save(graph, net)
        np.save(given, frames)
        environment = self.at(input_delay, output_delay, read_delay)
        done = self.neuroport(
            *("run", net, "--on", "loihi2", "--site", self.site, "--frames", given, "-o", trace),
            *options,
            env=environment,
            timeout=600,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert list((self.folder / "tmp").iterdir()) == []
        assert self.left() == []
        self.said = done.stdout + done.stderr
        return self.said if code else Trace.load(trace)

    def at(
        self, input_delay: int = 0, output_delay: int = 0, read_delay: int = 1
    ) -> dict[str, str]:
        """Write the site; the environment in which its board is there."""
        self.site.write_text(
            f'chips = 8\n[slurm]\npartition = "kp"\n[measuring]\nsteps = 20\n[timing]\n'
            f"input_delay = {input_delay}\noutput_delay = {output_delay}\n"
            f"read_delay = {read_delay}\n"
        )
        paths = [self.standins, Path(port.__file__).resolve().parents[1]]
        chosen = {"input_delay": input_delay, "output_delay": output_delay, **FIGURES}
        return {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(self.folder / "tmp"),
            "NEUROPORT_STANDIN": json.dumps(chosen),
        }

    def left(self) -> list[str]:
        """Command lines of processes that a run left behind."""
        lines = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
        return [line for line in lines if str(self.folder) in line]


@pytest.fixture
def board(neuroport: Call) -> Iterator[Board]:
    # not tmp_path: Lava's sockets lie in the folder for temporary files, whose path must be short
    with tempfile.TemporaryDirectory(prefix="board-") as folder:
        yield Board(Path(folder), neuroport)


def residual() -> tuple[Graph, np.ndarray]:
    """A membrane shortcut over a block, carried by two identity relays; frames are not square."""
    frames = frames_for((2, 6, 5), 4, 3)
    return port.lower(ms_resnet(Shape(frames), 1, (3,)), "loihi2", carrier="relay"), frames


def chain() -> tuple[Graph, np.ndarray]:
    """Graded frames, a convolution of each odd geometry, a dense population, a readout."""
    rng = np.random.default_rng(5)

    def even(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-9, 10, shape)

    nodes: list[Node] = [
        Input("frames", (2, 6, 5), 4),
        Conv("stem", ("frames",), even(4, 2, 3, 2), 0, (2, 1), (1, 0), (1, 2)),
        Lif("first", ("stem",), 40, voltage_decay=1000, bias=rng.integers(-9, 10, (4, 3, 3))),
        Conv("grouped", ("first",), even(4, 2, 3, 3), 1, (1, 1), (1, 1), (1, 1), 2),
        Lif("second", ("grouped",), 20, 3000, 500),
        Dense("in", ("second",), even(6, 36), 1),
        Lif("third", ("in",), 30, bias=2),
        Dense("classes", ("third",), even(3, 6)),
        Readout("potential", ("classes",), np.array([5, -7, 0])),
    ]
    return Graph(nodes, 6, 8), frames_for((2, 6, 5), 6, 3, bits=4)


def dense() -> list[Node]:
    """The smallest network with a counter."""
    eye = 2 * np.eye(2, dtype=np.int64)
    return [
        Input("frames", (2,), 1),
        Dense("in", ("frames",), eye),
        Lif("first", ("in",), 1),
        Dense("classes", ("first",), eye),
        Readout("potential", ("classes",)),
    ]


def equal(got: Trace, want: Trace) -> None:
    """Counts are those of the whole raster, readouts those after the last step; all are lively."""
    assert set(got.counts) == {n for n, kind in want.kinds.items() if kind == "lif"}
    for name, counts in got.counts.items():
        assert want[name].any(), name
        np.testing.assert_array_equal(counts, counted(want[name], got.granularity), name)
    np.testing.assert_array_equal(got.output, want.output)
    assert want.output.min() < 0  # a sign that a 24-bit word has lost is put back


@pytest.mark.parametrize("delay", [0, 1])
def test_a_residual_network_gives_the_references_counts_and_readouts(
    board: Board, delay: int
) -> None:
    graph, frames = residual()
    assert sum(isinstance(node, Relay) for node in graph) == 2
    want, got = port.run(graph, frames), board.run(graph, frames, input_delay=delay)
    equal(got, want)
    outcome = port.compare(want, got)
    assert outcome.equal, str(outcome)
    assert got.provenance["hardware"]["status"] == STATUS
    assert got.provenance["hardware"]["site"]["partition"] == "kp"
    assert "measurement" not in got.provenance["hardware"]


def test_a_chain_is_counted_and_every_loggers_figures_arrive(board: Board) -> None:
    graph, frames = chain()
    got = board.run(graph, frames, "--measure", "--granularity", "channel")
    equal(got, port.run(graph, frames))
    told = got.provenance["hardware"]
    for logger, chosen in FIGURES.items():
        assert {name: told[logger][name] for name in chosen} == chosen
    assert told["measured_steps"] == told["power"]["asked_steps"] == 24  # a round of 3 samples
    measured = told["measurement"]
    # two of eight chips: 3.1 W less six idle ones of 0.2 W
    assert measured["total_w"] == pytest.approx(1.9)
    assert measured["static_w"] == pytest.approx(0.4)
    assert measured["dynamic_w"] == pytest.approx(1.5)
    assert (measured["chips"], measured["steps"], measured["with_io"]) == (2, 8, True)
    assert measured["sample_s"] == pytest.approx(8 * 12.5e-6)
    assert measured["total_uj"] == pytest.approx(190)
    assert "Slurm partition kp" in measured["board"]
    assert "1.9 W (static 0.4, dynamic 1.5)" in board.said


def test_a_recording_is_kept_where_the_loggers_figures_cannot_be_right(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, frames = chain()
    monkeypatch.setitem(FIGURES, "activity", {**FIGURES["activity"], "chip_idx": [*range(9)]})
    got = board.run(graph, frames, "--measure", "--granularity", "channel")
    equal(got, port.run(graph, frames))
    told = got.provenance["hardware"]
    assert "measurement" not in told
    assert told["power"]["total_power"] == FIGURES["power"]["total_power"]
    assert "chips is 8, and the network ran on 9" in told["not_measured"]
    assert f"not measured: {told['not_measured']}" in board.said


def test_every_message_streams_to_the_host_where_that_is_asked(board: Board) -> None:
    graph, frames = residual()
    options = ("--record", "messages")
    got = board.run(graph, frames, *options, input_delay=1, output_delay=2)
    outcome = port.compare(port.run(graph, frames), got)
    assert outcome.equal, str(outcome)
    assert set(got.messages) == {node.name for node in graph.populations}
    assert (got["last.carry1"] < 0).any()  # graded messages keep their sign


def test_a_constant_frame_goes_by_bias_and_nothing_by_an_adapter(board: Board) -> None:
    graph, frames = chain()
    graph = plain(Shape(frames[:4] > 0), 1, (4,))
    constant = np.repeat(frames[:1, :1] > 0, 4, axis=0).repeat(2, axis=1).astype(np.int64)
    adapter = board.folder / "standins"
    shutil.copytree(STANDINS, adapter)
    board.standins = adapter
    spike = adapter / "lava" / "proc" / "embedded_io" / "spike.py"
    spike.write_text("")  # whoever asks for an adapter fails
    got = board.run(graph, constant, "--frames-by", "bias")
    equal(got, port.run(graph, constant))
    assert got.provenance["hardware"]["frames_by"] == "bias"


def test_a_process_without_a_model_for_a_core_does_not_run_on_the_host(board: Board) -> None:
    graph, frames = residual()
    board.standins = board.folder / "standins"
    shutil.copytree(STANDINS, board.standins)
    (board.standins / "lava" / "proc" / "conv" / "ncmodels.py").unlink()
    said = board.run(graph, frames, code=2)
    assert "no model of Conv for a neuron core" in said


def test_a_logger_without_a_needed_figure_is_an_error_that_names_it(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FIGURES, "power", {"total_power": [3.0]})
    graph, frames = residual()
    said = board.run(graph, frames, "--measure", code=2)
    assert "Loihi2Power tells no static_total_power after the run; it tells" in said


def test_a_wrong_read_delay_ends_at_the_deadline_with_the_key_to_change(board: Board) -> None:
    graph, frames = Graph(dense(), 4), np.ones((4, 2, 2), np.int64)
    for deadline in ("6", "12", "40"):  # until a busy machine reaches the read
        said = board.run(graph, frames, "--deadline", deadline, code=2, read_delay=0)
        if "timing.read_delay" in said:
            break
    assert f"Lava did not finish within {deadline} s" in said
    assert "timing.read_delay" in said


def rounding() -> tuple[Graph, np.ndarray]:
    """Membrane shortcuts whose stream is rounded where a stage ends; frames are not square."""
    frames = frames_for((2, 6, 5), 4, 3)
    return port.lower(ms_resnet(Shape(frames), 1, (3, 4)), "loihi2"), frames


@pytest.mark.parametrize("record", ["counts", "messages"])
def test_a_stream_is_rounded_by_lavas_prodneuron(board: Board, record: str) -> None:
    graph, frames = rounding()
    (rounds,) = [node for node in graph if isinstance(node, Relay) and node.shift]
    want = port.run(graph, frames)
    got = board.run(graph, frames, "--record", record)
    assert want[rounds.name].any()
    outcome = port.compare(want, got)
    assert outcome.equal, str(outcome)
    if record == "counts":
        equal(got, want)
    else:
        np.testing.assert_array_equal(got[rounds.name], want[rounds.name])


def test_products_of_matrices_are_lavas_convolution() -> None:
    code = """
import numpy as np
from neuroport.backends.lava_cpu.newer_python import prepare
prepare()
from lava.proc.conv.utils import conv
from lava.proc.conv.ncmodels import by_products
rng = np.random.default_rng(0)
for size in range(1, 40):
    shape, out = rng.integers(4, 9, 2), rng.integers(1, 5)
    taps, stride, padding, dilation = (rng.integers(1, 4, 2) for _ in range(4))
    wide = dilation * (taps - 1) + 1
    padding = np.maximum(padding - 1, (wide - shape + 1) // 2 + 1)
    source = rng.integers(-99, 99, (*shape, 3)).astype(np.int32)
    weight = rng.integers(-254, 255, (out, *taps, 3)).astype(np.int32)
    given = (source, weight, taps, stride, padding, dilation, 1)
    np.testing.assert_array_equal(conv(*given), by_products(*given))
"""
    root = Path(port.__file__).resolve().parents[1]
    paths = os.pathsep.join(map(str, (STANDINS, root)))
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_a_chip_does_not_do_is_refused_before_a_process_is_built(board: Board) -> None:
    nodes: list[Node] = [
        Input("frames", (2,), 4),
        Dense("in", ("frames",), 2 * np.eye(2, dtype=np.int64)),
        Lif("lif", ("in",), 9),
        Delay("wait", ("lif",), 1),
        Dense("classes", ("wait",), 2 * np.eye(2, dtype=np.int64)),
        Readout("potential", ("classes",)),
    ]
    said = board.run(Graph(nodes, 4), np.ones((4, 1, 2), np.int64), code=1)
    assert "wait: Lava's delays carry messages of a sample into the next one" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("script", ["loihi2", "lava_cpu"])
def test_the_scripts_of_deploy_store_traces_and_say_equal(
    board: Board, root: Path, script: str
) -> None:
    deploy, out = root / "deploy", board.folder / "out"
    environment = {**os.environ, **board.at()}
    files = [str(board.folder / name) for name in ("resets.net", "resets.npy")]
    graph, frames = CONSTRUCTS["resets"].network()
    save(graph, files[0])
    np.save(files[1], frames)
    sited = [str(board.site)] if script == "loihi2" else []
    unmeasured = ["--no-measure"] if sited else []
    done = subprocess.run(
        [sys.executable, str(deploy / script / "run.py"), *files, *sited, str(out), *unmeasured],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 differ" in done.stdout
    assert (STATUS in done.stdout) == bool(sited)
    got = Trace.load(out / ("board.trace" if sited else "simulator.trace"))
    assert got.counts["first"].sum() > 0
    assert json.loads((out / "comparison.json").read_text())["equal"] is True
    assert board.left() == []
