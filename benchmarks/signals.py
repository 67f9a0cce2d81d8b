"""``python -m benchmarks.signals``: every verb ended, killed or stopped at many moments.

Each try starts a verb in folders of its own, sends a signal at a moment spread over the time that
an undisturbed run takes, and then asks: how did it end, which of its processes live five seconds
later, is a file torn. Then the same command runs again in the same folders: what it writes has to
equal what the undisturbed run wrote (every tensor's bits, for a training that goes on), and nothing
may be left among temporary files and in shared memory. Processes are known by a word in their
environment, shared memory by what they had mapped and listed. Every try is kept in
``signals.json``, which goes on where it was; rounds take every verb and signal once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.files import read_json, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Readout
from neuroport.graph.store import save
from neuroport.processes import SEGMENT, SEGMENTS
from neuroport.runs.trace import versions

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "ms_resnet8_mnist"
RESULTS = Path(__file__).with_name("signals.json")
MARK = "NEUROPORT_SIGNALS_TRY"
TRIES = 10
ORDER = (5, 2, 8, 0, 6, 3, 9, 1, 7, 4)  # of the moments: few tries are spread, too
LEFT_SECONDS = 5.0  # after which no process may be left
LONGEST = 60.0  # seconds in which a run whose child was killed or stopped has to end
POLL = 0.005

RECIPE = """\
name = "signals"
[data]
steps = 2
train = 100
test = 20
[network]
widths = [4, 6, 8]
[training]
epochs = 2
batch = 10
flip = true
checkpoint_steps = 1
[quantization]
epochs = 1
"""
VERIFY = """\
import sys
import numpy as np
import neuroport as port
from neuroport.files import write_json
net, frames, one, other, out = sys.argv[1:]
found = port.verify(net, None, np.load(frames), on=(one, other), together=8)
write_json(out, {"equal": bool(found), "samples": found.samples, "positions": found.positions})
"""
COMMAND = [sys.executable, "-c", "from neuroport.cli import main; main()"]


@dataclass(frozen=True)
class Case:
    """A command; ``{out}`` stands for a folder of its own, ``{in}`` for that of the inputs."""

    arguments: tuple[str, ...]
    writes: frozenset[str]  # in its folder, when it is done
    command: tuple[str, ...] = tuple(COMMAND)


def _run(which: str, *options: str) -> Case:
    given = ("run", f"{{in}}/{which}.net", "--frames", f"{{in}}/{which}.npy", *options)
    return Case((*given, "-o", "{out}/out.trace"), frozenset({"out.trace"}))


def _verify(which: str, one: str, other: str) -> Case:
    given = (f"{{in}}/{which}.net", f"{{in}}/{which}.npy", one, other, "{out}/out.json")
    return Case(given, frozenset({"out.json"}), (sys.executable, "-c", VERIFY))


LAVA = ("--on", "lava-cpu")
CASES = {
    "train": Case(
        ("train", "{in}/recipe.toml", "-o", "{out}"),
        frozenset({"checkpoint.safetensors", "metrics.jsonl", "recipe.toml"}),
    ),
    "quantize": Case(("quantize", str(MODEL), "-o", "{out}/out.graph"), frozenset({"out.graph"})),
    "export": Case(("export", "{in}/lowered.graph", "-o", "{out}/out.net"), frozenset({"out.net"})),
    "run reference": _run("many", "--on", "reference"),
    "run fast": _run("many", "--on", "fast"),
    "run lava-cpu stock": _run("few", *LAVA),
    "run lava-cpu fused": _run("few", *LAVA, "--processes", "fused"),
    "run lava-cpu fused, 2 workers": _run("few", *LAVA, "--processes", "fused", "--workers", "2"),
    "verify reference, fast": _verify("many", "reference", "fast"),
    "verify fast, lava-cpu": _verify("few", "fast", "lava-cpu"),
}
SIGNALS = (
    "SIGTERM",
    "SIGHUP",
    "SIGINT twice",
    "SIGKILL",
    "SIGKILL of a child",
    "SIGSTOP of a child",
)


@dataclass
class Undisturbed:
    """What a run takes and writes when nobody disturbs it."""

    seconds: float
    children: tuple[float, float] | None  # seconds at which the first and the last child was seen
    content: dict[str, Any]


@dataclass
class Place:
    """The folders of a try; the word by which its processes are known is their name."""

    inputs: Path
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="sig-", dir="/tmp")))

    def __post_init__(self) -> None:
        for name in ("out", "tmp"):
            (self.folder / name).mkdir()

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def start(self, case: Case) -> subprocess.Popen[bytes]:
        stands = {"{out}": str(self.out), "{in}": str(self.inputs)}
        arguments = []
        for argument in case.arguments:
            for short, full in stands.items():
                argument = argument.replace(short, full)
            arguments.append(argument)
        with open(self.folder / "said.txt", "wb") as said:
            return subprocess.Popen(
                [*case.command, *arguments],
                env={**os.environ, MARK: str(self.folder), "TMPDIR": str(self.temporary)},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
                preexec_fn=_hear_signals,
            )

    def said(self) -> str:
        return (self.folder / "said.txt").read_text(errors="replace")

    def processes(self) -> list[int]:
        """Its processes that live; those that have ended and are not waited for do not count."""
        word, found = f"{MARK}={self.folder}\0".encode(), []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if word in (place / "environ").read_bytes():
                    found.append(int(place.name))
            except OSError:
                continue
        return sorted(found)

    def segments(self) -> set[str]:
        """Names of shared memory: what its processes have mapped, and what its run listed."""
        found = set()
        for pid in self.processes():
            try:
                maps = Path(f"/proc/{pid}/maps").read_text()
            except OSError:
                continue
            found |= {line.split("/dev/shm/")[1].split()[0] for line in maps.splitlines()
                      if "/dev/shm/" in line}  # fmt: skip
        for listed in self.temporary.rglob(SEGMENTS):
            try:
                found |= {name for name in listed.read_text().split() if SEGMENT.fullmatch(name)}
            except OSError:
                continue
        return found

    def remove(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)


def _hear_signals() -> None:
    """A shell may have left SIGINT ignored, and nohup SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def content(folder: Path) -> dict[str, Any]:
    """What each file says, read as its reader does; not when it was written or how long it took."""
    import neuroport as port
    from neuroport.runs.trace import Trace

    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".trace":
            trace = Trace.load(path)
            arrays = {**trace.messages, **trace.counts}
            found[path.name] = {name: _digest(array) for name, array in arrays.items()}
        elif path.suffix in (".net", ".graph"):
            found[path.name] = port.read(path).hash if path.suffix == ".net" else _graph(path)
        elif path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            found[path.name] = {name: _digest(array) for name, array in load_file(path).items()}
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[path.name] = [{k: v for k, v in m.items() if k != "seconds"} for m in lines]
        elif path.suffix == ".json":
            found[path.name] = read_json(path)
        else:
            found[path.name] = path.read_text(errors="replace")
    return found


def _graph(path: Path) -> str:
    from neuroport.graph import store

    return store.load(path).hash


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()


def undisturbed(case: Case, inputs: Path) -> Undisturbed:
    place = Place(inputs)
    try:
        process, begun, seen = place.start(case), time.monotonic(), []
        while process.poll() is None:
            if len(place.processes()) > 1:
                seen.append(time.monotonic() - begun)
            time.sleep(4 * POLL)
        seconds = time.monotonic() - begun
        if process.returncode != 0:
            raise SystemExit(f"{case.arguments[0]} fails undisturbed: {place.said()}")
        found = content(place.out)
        assert set(found) == case.writes, (set(found), case.writes)
        return Undisturbed(seconds, (seen[0], seen[-1]) if seen else None, found)
    finally:
        place.remove()


def attempt(
    case: Case, told: str, calm: Undisturbed, number: int, late: int, inputs: Path
) -> dict[str, Any]:
    """One try: what was found, and which of it is wrong (``faults``, empty where all is well)."""
    chance = random.Random(f"{case.arguments}{told}{number}{late}")
    child = told.endswith("child")
    first, last = (calm.children or (0.0, 0.0)) if child else (0.0, calm.seconds)
    share = (ORDER[number % TRIES] + chance.random()) / TRIES
    place = Place(inputs)
    try:
        for again in range(5):  # a run may be faster than the one that was measured
            moment = first + (last - first) * share * 0.8 ** (again + 2 * late)
            process, begun = place.start(case), time.monotonic()
            victim = _wait(place, process, moment, child, chance)
            if victim is not None:
                break
            process.wait()
            shutil.rmtree(place.out)
            place.out.mkdir()
        else:
            return {"missed": True, "faults": []}
        names, alive = place.segments(), len(place.processes())
        at = time.monotonic() - begun
        _send(told, process, victim, chance)
        sent = time.monotonic()
        faults: list[str] = []
        try:
            process.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            faults.append(f"did not end within {LONGEST:g} s")
            process.kill()
            process.wait()
        ended = time.monotonic()
        names |= place.segments()
        start = ended if child else sent
        while (left := place.processes()) and time.monotonic() < start + LEFT_SECONDS:
            time.sleep(0.05)
        gone = time.monotonic() - start
        if left:
            faults.append(f"{len(left)} processes live {LEFT_SECONDS:g} s later")
        code, said = process.returncode, place.said()
        if code == 0 and not child:
            return {"missed": True, "faults": faults}  # it had done its work
        faults += _ending(told, code, said)
        faults += _torn(case, place, calm, code)
        again_code = place.start(case).wait(timeout=10 * LONGEST)
        if again_code != 0:
            faults.append(f"the next run ends with {again_code}: {place.said()[-300:]}")
        else:
            found = content(place.out)
            if found != calm.content:
                faults.append(f"the next run wrote something else: {sorted(found)}")
        if rest := sorted(path.name for path in place.temporary.iterdir()):
            faults.append(f"temporary files after the next run: {rest[:3]}")
        if rest := sorted(name for name in names if Path("/dev/shm", name).exists()):
            faults.append(f"shared memory after the next run: {len(rest)} of {len(names)}")
        return {
            "at": round(at, 3),
            "processes": alive,
            "segments": len(names),
            "code": code,
            "ended_after": round(ended - sent, 2),
            "gone_after": round(gone, 2),
            "said": said[-300:] if faults else "",
            "faults": faults,
        }
    finally:
        place.remove()


def _wait(
    place: Place,
    process: subprocess.Popen[bytes],
    moment: float,
    child: bool,
    chance: random.Random,
) -> int | None:
    """Wait for the moment, and for a child if one is to be hit; None where the run was faster."""
    given = time.monotonic() + moment
    while process.poll() is None:
        if time.monotonic() >= given:
            if not child:
                return process.pid
            if others := [pid for pid in place.processes() if pid != process.pid]:
                return chance.choice(others)
        time.sleep(min(POLL, max(0.0, given - time.monotonic())) if not child else POLL / 5)
    return None


def _send(told: str, process: subprocess.Popen[bytes], victim: int, chance: random.Random) -> None:
    name, *more = told.split()
    number = getattr(signal, name)
    try:
        os.kill(victim, number)
        if more == ["twice"]:
            time.sleep(chance.uniform(0.02, 0.5))
            process.send_signal(number)
    except ProcessLookupError:
        pass


def _ending(told: str, code: int, said: str) -> list[str]:
    """Whether the exit code and the words are those of this signal."""
    name, *more = told.split()
    number = int(getattr(signal, name))
    if more[-1:] == ["child"]:
        # an error of one line and Lava's words, or the whole result; what lies there tells which
        good = code == 0 or (code > 0 and "neuroport" in said)
        return [] if good else [f"exit code {code}"]
    allowed = {-number, 130} if more else {-number}
    return [] if code in allowed else [f"exit code {code}"]


def _torn(case: Case, place: Place, calm: Undisturbed, code: int) -> list[str]:
    """Files that are neither absent nor whole; temporary ones of a killed writer do not count."""
    hidden = [path for path in place.out.iterdir() if path.name.startswith(".neuroport-")]
    shown = place.folder / "shown"
    shutil.copytree(place.out, shown, ignore=shutil.ignore_patterns(".neuroport-*"))
    faults = []
    try:
        found = content(shown)
    except Exception as error:
        return [f"a file is torn: {error!r:.200}"]
    finally:
        shutil.rmtree(shown)
    if unknown := set(found) - case.writes:
        faults.append(f"wrote {sorted(unknown)}")
    if code == 0 and found != calm.content:
        faults.append("ended as if good, and wrote something else")
    if "checkpoint.safetensors" not in case.writes:
        faults += [f"{n} is another" for n, what in found.items() if what != calm.content.get(n)]
    if hidden and code != -signal.SIGKILL:
        faults.append(f"{len(hidden)} temporary files beside the output")
    return faults


def prepare(folder: Path) -> None:
    """The inputs of all cases: a recipe, frames, a lowered graph."""
    frames = np.load(MODEL / "frames.npy")
    np.save(folder / "many.npy", np.tile(frames, (1, 10, *[1] * (frames.ndim - 2))))
    shutil.copy(MODEL / "network.net", folder / "many.net")
    rng = np.random.default_rng(0)
    np.save(folder / "few.npy", rng.integers(0, 2, (4, 8, 2, 6, 6)).astype(np.uint8))
    save(small(rng), folder / "few.net")
    (folder / "recipe.toml").write_text(RECIPE)
    for given in (
        ("quantize", MODEL, "-o", folder / "quantized.graph"),
        ("lower", folder / "quantized.graph", "-o", folder / "lowered.graph"),
    ):
        subprocess.run([*COMMAND, *map(str, given)], check=True, stdout=subprocess.DEVNULL)


def small(rng: np.random.Generator) -> Graph:
    """A network with which Lava has few processes: what is tried is how they end."""

    def weights(*shape: int) -> Any:
        return 2 * rng.integers(-20, 60, shape)

    return Graph(
        [
            Input("input", (2, 6, 6), 1),
            Conv("conv1", ("input",), weights(3, 2, 3, 3), 0, (1, 1), (1, 1)),
            Lif("lif1", ("conv1",), np.full(1, 200)),
            Conv("conv2", ("lif1",), weights(4, 3, 3, 3), 0, (2, 2), (1, 1)),
            Lif("lif2", ("conv2",), np.full(1, 200)),
            Dense("dense", ("lif2",), weights(5, 36)),
            Readout("potential", ("dense",), np.zeros(5, np.int64)),
        ],
        4,
    )


def summed(tries: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of a verb and a signal."""
    hit = [one for one in tries if not one.get("missed")]
    row: dict[str, Any] = {
        "tries": len(hit),
        "missed": len(tries) - len(hit),
        "failures": sum(bool(one["faults"]) for one in tries),
    }
    if hit:
        row["codes"] = {str(c): sum(o["code"] == c for o in hit) for c in {o["code"] for o in hit}}
        row["slowest_end"] = max(one["ended_after"] for one in hit)
        row["slowest_gone"] = max(one["gone_after"] for one in hit)
        row["most_processes"] = max(one["processes"] for one in hit)
        row["most_segments"] = max(one["segments"] for one in hit)
        row["moments"] = [min(one["at"] for one in hit), max(one["at"] for one in hit)]
        row["faults"] = [o for o in tries if o["faults"]]
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(map(repr, CASES))}")
    parser.add_argument("--tries", type=int, default=TRIES, help="of each verb and signal")
    parser.add_argument("--jobs", type=int, default=1, help="tries side by side")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no try after these")
    parser.add_argument("--signals", nargs="*", default=SIGNALS, choices=SIGNALS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    given_up = time.monotonic() + 60 * options.minutes
    results = read_json(options.out) if options.out.exists() else {"cases": {}}
    results["versions"] = versions("lava-nc", "numpy", "torch")
    results["python"] = sys.version.split()[0]
    lock = threading.Lock()
    inputs = Path(tempfile.mkdtemp(prefix="sig-in-", dir="/tmp"))
    try:
        prepare(inputs)
        names = options.cases or list(CASES)
        with ThreadPoolExecutor(options.jobs) as pool:
            found = pool.map(lambda name: undisturbed(CASES[name], inputs), names)
            calm = dict(zip(names, found, strict=True))

        def one(name: str, told: str, number: int) -> None:
            with lock:
                case = results["cases"].setdefault(name, {"tries": {}})
                case["seconds"] = round(calm[name].seconds, 2)
                kept = case["tries"].setdefault(told, [])
                has_child = calm[name].children is not None
                case["children"] = has_child
            if number in {o["number"] for o in kept} or time.monotonic() > given_up:
                return
            if told.endswith("child") and not has_child:
                return
            for late in range(3):
                found = attempt(CASES[name], told, calm[name], number, late, inputs)
                if not found.get("missed"):
                    break
            with lock:
                kept.append({"number": number, **found})
                for each in results["cases"].values():
                    each["rows"] = {what: summed(all_) for what, all_ in each["tries"].items()}
                write_json(options.out, results)
            fault = f"  {'; '.join(found['faults'])}" if found["faults"] else ""
            print(f"{name}, {told}, {number}: {found.get('code')}{fault}", flush=True)

        work: list[Callable[[], None]] = [
            lambda name=name, told=told, number=number: one(name, told, number)  # type: ignore[misc]
            # rounds; those that take long have fewer where the minutes end before the tries
            for _, number, name in sorted(
                ((number + 0.5) * min(max(1.0, calm[name].seconds / 2), 4.0), number, name)
                for number in range(options.tries)
                for name in names
            )
            for told in options.signals
        ]
        with ThreadPoolExecutor(options.jobs) as pool:
            for done in [pool.submit(each) for each in work]:
                done.result()
    finally:
        shutil.rmtree(inputs, ignore_errors=True)
    rows = [row for case in results["cases"].values() for row in case.get("rows", {}).values()]
    failures = sum(row["failures"] for row in rows)
    print(f"{sum(row['tries'] for row in rows):,} tries, {failures:,} failures")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
