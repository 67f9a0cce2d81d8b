"""Real Lava, failing for real: an error within the deadline, nothing left running, nothing kept.

Lava's packages are namespaces, so a folder that comes first on the path can hold a process of its
own in place of one of Lava's: here a ``GradedVec`` (which carries relays) whose model misbehaves.
The engine runs it as it would run Lava's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import neuroport as port
from neuroport.errors import BackendError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Relay

pytestmark = [
    pytest.mark.lava,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads Linux's /proc"),
]

DEADLINE = 60.0
SOON = 20.0  # seconds for what fails at once, importing Lava included, on a busy machine too
SLACK = 10.0
PATIENCE = (3.0, 10.0, 30.0)  # deadlines, until a busy machine reaches the code that sleeps
SLEEP = "open({reached!r}, 'w').close(); time.sleep(3600)"
SHARED_MEMORY = Path("/dev/shm")

PROCESS = """\
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess


class GradedVec(AbstractProcess):
    def __init__(self, shape, vth=1):
        super().__init__(shape=shape)
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
"""

MODEL = """\
import os
import signal
import sys
import time

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.graded.process import GradedVec


class Unreadable(Exception):
    # can be pickled, but not read again

    def __init__(self, first, second):
        super().__init__(first)


@implements(proc=GradedVec, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class Misbehaving(PyLoihiProcessModel):
    a_in = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        {start}

    def run_spk(self):
        message = self.a_in.recv()
        if self.time_step == 7:
            {step}
        self.s_out.send(message)
"""

Misbehave = Callable[..., Path]


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Four pixels, a relay, four neurons."""
    one = np.eye(4, dtype=np.int64)
    nodes = [
        Input("input", (4,), bits=8),
        Dense("in", ("input",), one),
        Relay("relay", ("in",)),
        Dense("out", ("relay",), one),
        Lif("neuron", ("out",), threshold=100, voltage_decay=1024),
    ]
    return Graph(nodes, 4)


@pytest.fixture(scope="module")
def digits() -> npt.NDArray[Any]:
    return np.random.default_rng(0).integers(0, 256, (4, 5, 4))


@pytest.fixture
def misbehave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Misbehave:
    """Put a process into Lava whose model executes ``start`` when made, ``step`` at step 7."""

    def install(start: str = "pass", step: str = "pass") -> Path:
        folder = tmp_path / "lava" / "proc" / "graded"
        folder.mkdir(parents=True)
        (folder / "process.py").write_text(PROCESS)
        (folder / "models.py").write_text(MODEL.format(start=start, step=step))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return tmp_path

    return install


# Python executes this file when it starts
FUSED = """\
import os, sys, time
import numpy as np
from neuroport.backends.lava_cpu import compiled_step

step = compiled_step.CompiledStep.step


def misbehaving(self, time_step):
    sent = step(self, time_step)
    if time_step == 7:
        {step}
    return sent


compiled_step.CompiledStep.step = misbehaving
"""


@pytest.fixture
def misbehave_fused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Misbehave:
    """Let the fused process execute ``step`` at step 7."""

    def install(step: str) -> Path:
        (tmp_path / "sitecustomize.py").write_text(FUSED.format(step=step))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return tmp_path

    return install


def processes_started_with(folder: Path) -> dict[int, str]:
    """Living processes whose environment names ``folder``: the child and all that it started."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_text()
        except OSError:  # gone, or a zombie, or somebody else's
            continue
    return found


def orphaned_memory(before: set[str]) -> set[str]:
    """Segments that appeared since ``before`` and that no living process has mapped."""
    new = {path.name for path in SHARED_MEMORY.iterdir()} - before
    if not new:
        return new
    mapped = ""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            mapped += (entry / "maps").read_text()
        except OSError:
            continue
    return {name for name in new if f"{SHARED_MEMORY}/{name}" not in mapped}


def assert_nothing_left(folder: Path, memory: set[str]) -> None:
    # the kernel and Python's resource tracker may need a moment
    given_up = time.monotonic() + 3
    processes, orphans = processes_started_with(folder), orphaned_memory(memory)
    while (processes or orphans) and time.monotonic() < given_up:
        time.sleep(0.05)
        processes = processes_started_with(folder)
        # another program's segments come and go while we look: ours would stay
        orphans &= orphaned_memory(memory)
    for pid in processes:  # a failing test must not leave behind what it found
        os.kill(pid, signal.SIGKILL)
    for name in orphans:
        (SHARED_MEMORY / name).unlink(missing_ok=True)
    assert processes == {}
    assert orphans == set()


def fail(
    graph: Graph,
    digits: npt.NDArray[Any],
    folder: Path,
    deadline: float = DEADLINE,
    **options: Any,
) -> BackendError:
    """The error of a run on Lava that must fail in time and leave nothing behind."""
    memory = {path.name for path in SHARED_MEMORY.iterdir()}
    started = time.monotonic()
    with pytest.raises(BackendError) as caught:
        port.run(graph, digits, on="lava-cpu", deadline=deadline, **options)
    assert time.monotonic() - started < (SOON if deadline == DEADLINE else deadline + SLACK)
    assert "\n" not in caught.value.message
    assert_nothing_left(folder, memory)
    return caught.value


def assert_lava_runs(
    graph: Graph, digits: npt.NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # Lava's own process again
    outcome = port.compare(port.run(graph, digits), port.run(graph, digits, on="lava-cpu"))
    assert outcome.equal, str(outcome)
    assert outcome.spikes > 0


def test_a_model_in_place_of_lavas_that_behaves_gives_the_spikes_of_the_reference(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave
) -> None:
    """The others fail for what they do, not for how they were put there."""
    misbehave()
    outcome = port.compare(port.run(graph, digits), port.run(graph, digits, on="lava-cpu"))
    assert outcome.equal, str(outcome)
    assert outcome.spikes > 0


def test_a_model_that_raises_ends_with_lavas_own_traceback(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = misbehave(step="raise RuntimeError('the seventh step')")
    error = fail(graph, digits, folder)
    assert error.message == "Lava failed: RuntimeError: the seventh step"
    assert error.detail.startswith("Traceback (most recent call last):")
    assert "in run_spk" in error.detail
    assert str(folder / "lava") in error.detail
    assert_lava_runs(graph, digits, monkeypatch)


@pytest.mark.parametrize("size", [3, 5])
def test_a_message_of_the_wrong_shape_ends_with_lavas_own_traceback(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, size: int
) -> None:
    error = fail(graph, digits, misbehave(step=f"message = np.zeros({size}, np.int32)"))
    assert error.message.startswith("Lava failed: ")
    assert f"({size},)" in error.message
    assert "in run_spk" in error.detail


@pytest.mark.parametrize(("where", "function"), [("start", "__init__"), ("step", "run_spk")])
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("np.zeros(4)[:] = np.zeros(5)", "ValueError: could not broadcast"),
        ("raise RuntimeError(lambda: 'no pickle')", "RuntimeError: <function"),
        ("raise Unreadable('not read', 'again')", "lava.proc.graded.models.Unreadable: not read"),
        ("sys.exit('enough')", "SystemExit: enough"),
    ],
    ids=["shape", "cannot be pickled", "cannot be unpickled", "exit"],
)
def test_whatever_a_model_raises_comes_with_lavas_own_traceback(
    graph: Graph,
    digits: npt.NDArray[Any],
    misbehave: Misbehave,
    code: str,
    says: str,
    where: str,
    function: str,
) -> None:
    """Lava would wait for ever, or tell of pickles."""
    folder = misbehave(**{where: code})
    error = fail(graph, digits, folder)
    assert error.message.startswith(f"Lava failed: {says}")
    assert error.detail.startswith("Traceback (most recent call last):")
    assert f"in {function}" in error.detail
    assert str(folder / "lava") in error.detail


@pytest.mark.parametrize(("where", "function"), [("start", "__init__"), ("step", "run_spk")])
def test_a_model_that_sleeps_for_ever_ends_at_the_deadline_and_is_told_where_it_was(
    graph: Graph,
    digits: npt.NDArray[Any],
    misbehave: Misbehave,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    where: str,
    function: str,
) -> None:
    reached = tmp_path / "reached"
    folder = misbehave(**{where: SLEEP.format(reached=str(reached))})
    for deadline in PATIENCE:
        error = fail(graph, digits, folder, deadline)
        if reached.exists():
            break
    assert error.message.startswith(f"Lava did not finish within {deadline:g} s; ")
    assert "raise the deadline" in error.message
    # the others wait for the one that sleeps
    assert error.detail.startswith("'relay' (Misbehaving) was here:\n")
    assert error.detail.count("was here") == 1
    assert f"in {function}" in error.detail.splitlines()[2]
    assert_lava_runs(graph, digits, monkeypatch)


def test_a_model_that_sleeps_while_lava_reads_it_is_told_where_it_was(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, tmp_path: Path
) -> None:
    reached = tmp_path / "reached"
    folder = misbehave()
    models = folder / "lava" / "proc" / "graded" / "models.py"
    models.write_text(f"import time\n{SLEEP.format(reached=str(reached))}\n")
    for deadline in PATIENCE:
        error = fail(graph, digits, folder, deadline)
        if reached.exists():
            break
    assert error.message.startswith(f"Lava did not finish within {deadline:g} s; ")
    assert error.detail.startswith("the process that Lava was started in was here:\n")
    assert str(models) in error.detail


@pytest.mark.parametrize("where", ["start", "step"])
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("os._exit(3)", "exit code 3"),
        ("os._exit(0)", "exit code 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
    ],
)
def test_a_lava_process_that_is_gone_is_noticed_at_once_and_named(
    graph: Graph,
    digits: npt.NDArray[Any],
    misbehave: Misbehave,
    code: str,
    says: str,
    where: str,
) -> None:
    error = fail(graph, digits, misbehave(**{where: code}))
    assert error.message == f"Lava failed: Lava process 'relay' (Misbehaving) ended with {says}"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("os._exit(3)", "Lava process 'relay' (Misbehaving) ended with exit code 3"),
    ],
)
def test_a_failure_while_lava_stops_is_told_too(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, code: str, says: str
) -> None:
    stop = "from lava.magma.runtime.mgmt_token_enums import MGMT_COMMAND; "
    stop += f"self._cmd_handlers[MGMT_COMMAND.STOP[0]] = lambda: {code}"
    error = fail(graph, digits, misbehave(step=stop))
    assert error.message == f"Lava failed: {says}"


def test_a_crash_in_native_code_says_where(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave
) -> None:
    # Segments that are gone already: Python's resource tracker would write 300 lines of them.
    gone = (
        "from multiprocessing import resource_tracker; "
        "[resource_tracker.register(f'/gone{n}', 'shared_memory') for n in range(300)]; "
    )
    error = fail(graph, digits, misbehave(step=gone + "os.kill(os.getpid(), signal.SIGSEGV)"))
    assert error.message.endswith("'relay' (Misbehaving) ended with signal 11")
    assert "Segmentation fault" in error.detail
    assert "resource_tracker" not in error.detail
    assert "in run_spk" in error.detail


def test_a_failure_at_start_up_ends_with_lavas_own_traceback(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = fail(graph, digits, misbehave(start="raise RuntimeError('no start')"))
    assert error.message == "Lava failed: RuntimeError: no start"
    assert error.detail.startswith("Traceback (most recent call last):")
    assert "in __init__" in error.detail
    assert_lava_runs(graph, digits, monkeypatch)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("def broken(:\n", "Lava failed: "),
        ("raise RuntimeError('no model')\n", "Lava failed: "),
        ("import sys; sys.exit('no model')\n", "Lava failed: SystemExit: no model"),
        ("import os; os._exit(3)\n", "Lava's child process ended without a result (exit code 3)"),
    ],
)
def test_a_model_that_lava_cannot_read_ends_before_start_up(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, content: str, says: str
) -> None:
    folder = misbehave()
    (folder / "lava" / "proc" / "graded" / "models.py").write_text(content)
    error = fail(graph, digits, folder)
    assert error.message.startswith(says)
    if error.message.startswith("Lava failed"):
        assert "Traceback (most recent call last):" in error.detail


def test_a_child_killed_by_the_system_is_an_error_that_says_so(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when memory runs out; the model's parent is the engine's child."""
    error = fail(graph, digits, misbehave(step="os.kill(os.getppid(), signal.SIGKILL)"))
    assert error.message == "Lava's child process ended without a result (killed by signal 9)"
    assert_lava_runs(graph, digits, monkeypatch)


def test_a_worker_that_fails_ends_the_others(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sees no frames and sleeps for ever; the second fails."""
    silent = digits * np.repeat([0, 1], [2, 3])[None, :, None]
    step = "assert not message.any(), 'seen'\n            time.sleep(3600)"
    error = fail(graph, silent, misbehave(step=step), workers=2)
    assert error.message == "Lava failed: AssertionError: seen"
    assert "in run_spk" in error.detail
    monkeypatch.undo()
    assert port.compare(
        port.run(graph, digits), port.run(graph, digits, on="lava-cpu", workers=2)
    ).equal


def test_workers_have_one_deadline(
    graph: Graph, digits: npt.NDArray[Any], misbehave: Misbehave, tmp_path: Path
) -> None:
    reached = tmp_path / "reached"
    folder = misbehave(step=SLEEP.format(reached=str(reached)))
    for deadline in PATIENCE:
        error = fail(graph, digits, folder, deadline, workers=2)
        if reached.exists():
            break
    assert error.message.startswith(f"Lava did not finish within {deadline:g} s; ")
    assert "'relay' (Misbehaving) was here:\n" in error.detail


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("raise RuntimeError('the seventh step')", "RuntimeError: the seventh step"),
        ("sent[0] = np.zeros(5, np.int32)", "ValueError: could not broadcast input array from"),
        ("os._exit(3)", "Lava process 'relay, neuron' (Fused1To2Model) ended with exit code 3"),
    ],
)
def test_a_failure_inside_a_fused_process_is_told_as_any_other(
    graph: Graph, digits: npt.NDArray[Any], misbehave_fused: Misbehave, step: str, says: str
) -> None:
    error = fail(graph, digits, misbehave_fused(step), processes="fused")
    assert error.message.startswith(f"Lava failed: {says}")
    assert ("in run_spk" in error.detail) == ("_exit" not in step)


def test_a_fused_process_that_sleeps_for_ever_is_told_where_it_was(
    graph: Graph,
    digits: npt.NDArray[Any],
    misbehave_fused: Misbehave,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    reached = tmp_path / "reached"
    folder = misbehave_fused(SLEEP.format(reached=str(reached)))
    for deadline in PATIENCE:
        error = fail(graph, digits, folder, deadline, processes="fused")
        if reached.exists():
            break
    assert error.detail.startswith("'relay, neuron' (Fused1To2Model) was here:\n")
    assert "in misbehaving" in error.detail
    monkeypatch.undo()
    want = port.run(graph, digits)
    assert port.compare(want, port.run(graph, digits, on="lava-cpu", processes="fused")).equal


# -- the same from the command line ----------------------------------------------------------


@pytest.fixture
def command(
    entry_point: list[str], graph: Graph, digits: npt.NDArray[Any], tmp_path: Path
) -> list[str]:
    net = port.export(graph, tmp_path / "four.net")
    np.save(tmp_path / "digits.npy", digits)
    frames = str(tmp_path / "digits.npy")
    return [*entry_point, "run", str(net), "--frames", frames, "--on", "lava-cpu"]


def test_the_command_line_says_one_line_and_then_lavas_own_words(
    command: list[str], misbehave: Misbehave
) -> None:
    misbehave(step="raise RuntimeError('the seventh step')")
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    first, second, *_ = done.stderr.splitlines()
    assert first == "neuroport: Lava failed: RuntimeError: the seventh step"
    assert second == "Traceback (most recent call last):"
    assert "neuroport/cli/" not in done.stderr
    assert json.loads(done.stdout)["error"]["kind"] == "BackendError"


def test_the_command_line_ends_at_its_deadline(
    command: list[str], misbehave: Misbehave, tmp_path: Path
) -> None:
    reached = tmp_path / "reached"
    folder = misbehave(step=SLEEP.format(reached=str(reached)))
    memory = {path.name for path in SHARED_MEMORY.iterdir()}
    for deadline in PATIENCE:
        started = time.monotonic()
        line = [*command, "--deadline", str(deadline)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert time.monotonic() - started < deadline + SLACK
        if reached.exists():
            break
    assert done.returncode == 2
    first, *words = done.stderr.splitlines()
    assert first.startswith(f"neuroport: Lava did not finish within {deadline:g} s; ")
    assert words[0] == "'relay' (Misbehaving) was here:"
    assert any("in run_spk" in line for line in words)
    assert "neuroport/cli/" not in done.stderr
    assert_nothing_left(folder, memory)


@pytest.mark.parametrize(("presses", "workers"), [(1, 1), (2, 1), (2, 2)])
def test_ctrl_c_during_lava_ends_every_process(
    command: list[str], misbehave: Misbehave, tmp_path: Path, presses: int, workers: int
) -> None:
    reached = tmp_path / "reached"
    folder = misbehave(step=SLEEP.format(reached=str(reached)))
    memory = {path.name for path in SHARED_MEMORY.iterdir()}
    child = subprocess.Popen(
        [*command, "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    given_up = time.monotonic() + 60
    while not reached.exists():
        assert child.poll() is None
        assert time.monotonic() < given_up
        time.sleep(0.02)
    for _ in range(presses):
        child.send_signal(signal.SIGINT)
        time.sleep(0.1)  # an impatient user, while the processes are being ended
    _, said = child.communicate(timeout=SLACK)
    # the second may meet an interpreter that has told and cleared up, and is on its way out
    assert child.returncode in {1: (130,), 2: (130, -signal.SIGINT)}[presses]
    assert said == "neuroport: interrupted; nothing was written\n"
    assert_nothing_left(folder, memory)
