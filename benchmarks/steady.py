"""``python -m benchmarks.steady``: what many runs, and long ones, leave behind; on Linux.

Six parts, each in a process of its own:

* ``runs``: ``port.run(network, frames, on="lava-cpu")`` 50 times in a row. After each run: memory
  of the process, its open descriptors, threads and children, entries of ``TMPDIR``, and those
  segments of shared memory that children had mapped and that are still there.
* ``lava``: 5,000 samples in one run on Lava, fused, counting the last population. While it runs:
  memory of the process and of its children, descriptors, threads and children of both.
* ``fast``: 50,000 samples of frames that are mapped from a file, in parts of 500 on the fast
  engine, with ``record="counts"``.
* ``verify``: 10,000 samples of mapped frames, compared on the reference and the fast engine.
* ``record``: 50,000 samples of mapped frames, run in one call that streams every message to a trace
  file, on a small MS-ResNet (8 layers, 7 x 7 pixels), so that the file stays below a gigabyte.
* ``verify many``: 50,000 samples of the same small network, compared as in ``verify``.

*Memory* is anonymous and shared memory, without pages of mapped files, which the system takes back
when it needs them, and without what is free in this process's own heap: before each look, garbage
is collected and glibc gives back what nobody holds, or what is seen is how its free lists scatter
(some 25 kB a run, of which nothing was held: traced by Python, and each step of a run by itself).
A trace of all messages grows with its samples, as asked: what is measured are
the ways that do not keep it. Writes ``docs/steady.json``; the exit status says whether bounds were
kept. With ``--minutes`` a part ends early, and ``done`` beside ``asked`` says where: growth of
memory is then told and not judged, for a process that has just begun still grows.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import neuroport as port
from neuroport.files import read_json, write_json
from neuroport.nets.ms_resnet import MsResNet
from neuroport.runs.trace import versions

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "ms_resnet8_mnist"
SEGMENTS = Path("/dev/shm")  # where Linux keeps them
COUNTS = {
    "runs": 50,
    "lava": 5_000,
    "fast": 50_000,
    "verify": 10_000,
    "record": 50_000,
    "verify many": 50_000,
}
UNIT = {part: "run" if part == "runs" else "sample" for part in COUNTS}
# bytes a run or a sample, in the second half
BOUNDS = {part: 20_000 if part == "runs" else 50 for part in COUNTS}
SAID = {
    "runs": "{:,} runs of 2 samples on Lava in a row",
    "lava": "one run of {:,} samples on Lava, fused, counting",
    "fast": "{:,} samples in parts on the fast engine, counting",
    "verify": "{:,} samples verified, reference and fast engine",
    "record": "{:,} samples of a small network, every message streamed to a trace file",
    "verify many": "{:,} samples of a small network verified, reference and fast engine",
}
PART = 500  # samples of a run on the fast engine
POINTS = 100  # a long run is looked at so many times
SHOWN = 10  # values of a row of memory in the JSON, beside the first


class EnoughError(Exception):
    """The time that was given for a part is over."""


def memory(process: int) -> int:
    """Anonymous and shared memory of a process, in bytes; 0 where it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    kilobytes = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", status, re.MULTILINE)
    return sum(map(int, kilobytes)) * 1024


def descendants(process: int) -> Iterator[int]:
    """Children, and theirs."""
    for task in entries(f"/proc/{process}/task"):
        try:
            found = Path(f"/proc/{process}/task/{task}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in map(int, found):
            yield child
            yield from descendants(child)


def segments(processes: list[int]) -> set[str]:
    """Segments of shared memory that processes have mapped, by name."""
    found: set[str] = set()
    for process in processes:
        try:
            maps = Path(f"/proc/{process}/maps").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.update(re.findall(rf"{SEGMENTS}/(\S+)$", maps, re.MULTILINE))
    return found


def entries(folder: str) -> list[str]:
    """Names in a folder, none where it is gone."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError):
        return []


def descriptors(process: int) -> int:
    """Open descriptors, but for those with which something is being read in /proc, as here."""
    found = 0
    for number in entries(f"/proc/{process}/fd"):
        try:
            found += not os.readlink(f"/proc/{process}/fd/{number}").startswith("/proc")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def looked_at(processes: list[int]) -> dict[str, int]:
    """What processes hold now, together; this one first lets go of what it does not hold."""
    if os.getpid() in processes:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
    return {
        "memory": sum(map(memory, processes)),
        "descriptors": sum(map(descriptors, processes)),
        "threads": sum(len(entries(f"/proc/{process}/task")) for process in processes),
    }


def slope(at: list[int], values: list[int]) -> float:
    """How much a value grows with each run or sample in the second half.

    The median slope between any two looks: a heap that takes one more arena is a step of some
    hundred kilobytes once, and does not count; what each run adds lies between all of them.
    """
    half = len(at) // 2
    x, y = np.array(at[half:], float), np.array(values[half:], float)
    one, other = np.triu_indices(len(x), 1)
    return float(np.median((y[other] - y[one]) / (x[other] - x[one]))) if len(one) else 0.0


def told(at: list[int], rows: list[dict[str, int]], of: str) -> dict[str, Any]:
    """Memory as a slope and some of its values; of all else the values that it took."""
    some = sorted({0, *(number * (len(at) - 1) // SHOWN for number in range(1, SHOWN + 1))})
    half = len(at) // 2
    values = [row["memory"] for row in rows]
    return {
        "bytes_a_" + of: round(slope(at, values), 2),
        "at": [at[index] for index in some],
        "memory": [values[index] for index in some],
        "in_second_half": {
            what: sorted({row[what] for row in rows[half:]}) for what in rows[0] if what != "memory"
        },
    }


def many_runs(count: int, until: float, temporary: Path) -> dict[str, Any]:
    """One short run after another, each with children of its own."""
    frames = np.load(MODEL / "frames.npy")[:, :2]
    own, rows, started = os.getpid(), list[dict[str, int]](), time.perf_counter()
    seen, left_over, most = set[str](), set[str](), 0

    def look(_done: int, _total: int) -> None:
        seen.update(segments(list(descendants(own))))

    for _ in range(count):
        seen.clear()
        port.run(str(MODEL / "network.net"), frames, on="lava-cpu", progress=look)
        most = max(most, len(seen))
        left_over = {name for name in seen | left_over if (SEGMENTS / name).exists()}
        left = {
            "children": len(list(descendants(own))),
            "files": len(list(temporary.iterdir())),
            "segments": len(left_over),
        }
        rows.append({**looked_at([own]), **left})
        if time.perf_counter() > until:
            break
    return {
        "done": len(rows),
        "seconds": round(time.perf_counter() - started, 1),
        "segments_of_a_run": most,
        "process": told(list(range(1, len(rows) + 1)), rows, "run"),
    }


def long_run(count: int, until: float, _temporary: Path) -> dict[str, Any]:
    """One run of many samples on Lava."""
    frames = np.load(MODEL / "frames.npy")
    many = frames[:, np.arange(count) % frames.shape[1]]
    own, at = os.getpid(), list[int]()
    rows: dict[str, list[dict[str, int]]] = {"process": [], "children": []}
    started = time.perf_counter()

    def look(done: int, total: int) -> None:
        if time.perf_counter() > until:
            raise EnoughError
        if done > 0.95 * total or done * POINTS < (len(at) + 1) * total:
            return  # told a little late: at the end children leave
        at.append(done * count // total)
        children = list(descendants(own))
        rows["process"].append(looked_at([own]))
        rows["children"].append({**looked_at(children), "children": len(children)})

    done = count
    try:
        port.run(
            str(MODEL / "network.net"),
            many,
            on="lava-cpu",
            processes="fused",
            record="counts",
            count="neuron",
            granularity="layer",
            deadline=24 * 3600.0,
            progress=look,
        )
    except EnoughError:
        done = at[-1]
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "done": done,
        **{who: told(at, found, "sample") for who, found in rows.items()},
    }


def small() -> tuple[port.Graph, np.ndarray[Any, Any]]:
    """A MS-ResNet of 8 layers for every fourth pixel of the digits, and those frames."""
    frames = np.ascontiguousarray(np.load(MODEL / "frames.npy")[..., ::4, ::4])
    torch.manual_seed(0)
    net = MsResNet(1, widths=(4, 8, 16), shortcut="stride").eval()
    return port.lower(port.quantize(net, frames)), frames


def mapped(
    count: int, temporary: Path, frames: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """Frames of so many samples, mapped from a file; those of the model over and over."""
    frames = np.load(MODEL / "frames.npy") if frames is None else frames
    many = np.memmap(
        temporary / "frames", frames.dtype, "w+", shape=(len(frames), count, *frames.shape[2:])
    )
    for first in range(0, count, frames.shape[1]):
        part = many[:, first : first + frames.shape[1]]
        part[:] = frames[:, : part.shape[1]]
    many.flush()
    return many


def by_parts(
    count: int, until: float, temporary: Path, work: Callable[[port.Graph, Any], object]
) -> dict[str, Any]:
    """``work`` on a graph and 500 samples after another."""
    many, graph = mapped(count, temporary), port.read(MODEL / "network.net")
    own, at, rows, started = os.getpid(), list[int](), list[dict[str, int]](), time.perf_counter()
    done = 0
    while done < count and time.perf_counter() < until:
        part = many[:, done : done + PART]
        work(graph, part)
        done += part.shape[1]
        if done * POINTS >= (len(at) + 1) * count:
            at.append(done)
            rows.append({**looked_at([own]), "files": len(list(temporary.iterdir()))})
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "done": done,
        "process": told(at, rows, "sample"),
    }


def streamed(count: int, until: float, temporary: Path) -> dict[str, Any]:
    """Many samples on the fast engine, part by part."""

    def run(graph: port.Graph, part: Any) -> None:
        port.run(graph, part, on="fast", record="counts", granularity="layer")

    return by_parts(count, until, temporary, run)


def in_one_call(
    count: int, until: float, temporary: Path, work: Callable[[Callable[[int, int], None]], object]
) -> dict[str, Any]:
    """``work`` on many samples, looked at as it tells its progress."""
    own, at, rows, started = os.getpid(), list[int](), list[dict[str, int]](), time.perf_counter()

    def look(done: int, total: int) -> None:
        if done * POINTS >= (len(at) + 1) * total:
            at.append(done)
            rows.append({**looked_at([own]), "files": len(list(temporary.iterdir()))})
        if time.perf_counter() > until:
            raise EnoughError

    done = count
    try:
        assert work(look)
    except EnoughError:
        done = at[-1]
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "done": done,
        "process": told(at, rows, "sample"),
    }


def compared(
    graph: port.Graph, many: np.ndarray[Any, Any], until: float, temporary: Path
) -> dict[str, Any]:
    """One comparison of many samples."""

    def work(look: Any) -> object:
        return port.verify(graph, None, many, together=50, progress=look)  # parts of one size

    return in_one_call(many.shape[1], until, temporary, work)


def verified(count: int, until: float, temporary: Path) -> dict[str, Any]:
    """Many samples of the model."""
    return compared(port.read(MODEL / "network.net"), mapped(count, temporary), until, temporary)


def verified_many(count: int, until: float, temporary: Path) -> dict[str, Any]:
    """Very many samples of a small network."""
    graph, frames = small()
    return compared(graph, mapped(count, temporary, frames), until, temporary)


def recorded(count: int, until: float, temporary: Path) -> dict[str, Any]:
    """One run of very many samples of a small network, every message to a file."""
    graph, frames = small()
    many = mapped(count, temporary, frames)

    def work(look: Any) -> object:
        path = temporary / "all.trace"
        with port.record(graph, many, path, on="fast", part=PART, progress=look) as stored:
            return stored.samples == count

    return in_one_call(count, until, temporary, work)


PARTS: dict[str, Callable[[int, float, Path], dict[str, Any]]] = {
    "runs": many_runs,
    "lava": long_run,
    "fast": streamed,
    "verify": verified,
    "record": recorded,
    "verify many": verified_many,
}


def broken(results: dict[str, Any]) -> list[str]:
    """What grew, in words; nothing where all is constant."""
    said = []
    for part, bound in BOUNDS.items():
        row = results.get(part, {})
        for who in ("process", "children"):
            if who not in row:
                continue
            grows = row[who]["bytes_a_" + UNIT[part]]
            if row["done"] >= row["asked"] and grows >= bound:
                said.append(f"{part}: memory of {who} grows by {grows} bytes a {UNIT[part]}")
            for what, values in row[who]["in_second_half"].items():
                if len(values) != 1:
                    said.append(f"{part}: {what} of {who} were {values}")
    for what in ("children", "files", "segments"):
        left = results["runs"]["process"]["in_second_half"][what] if "runs" in results else [0]
        if left != [0]:
            said.append(f"runs: {left} {what} are left")
    return said


def page(results: dict[str, Any]) -> str:
    """The table of ``docs/performance.md``."""
    lines = [
        "| measured | | memory at first | half way | at the end | grows by | goal |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for part, row in results.items():
        if part not in PARTS:
            continue
        for who in ("process", "children"):
            if who not in row:
                continue
            values = [f"{value / 1e6:.1f} MB" for value in row[who]["memory"]]
            grows = f"{row[who]['bytes_a_' + UNIT[part]]:,.0f} bytes a {UNIT[part]}"
            some = " | ".join((values[0], values[len(values) // 2], values[-1]))
            what = SAID[part].format(row["done"])
            short = row["done"] < row["asked"]
            held = f"not judged: {row['asked']:,} are" if short else f"below {BOUNDS[part]:,}"
            lines.append(f"| {what} | {who} | {some} | {grows} | {held} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all where none is given")
    parser.add_argument("--count", type=int, help="runs or samples, where fewer are to be shown")
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="for each part, at most")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "steady.json")
    parser.add_argument("--here", action="store_true", help="in this process: one part")
    options = parser.parse_args()
    chosen = options.parts or list(PARTS)
    if options.here:
        (part,) = chosen
        count = options.count or COUNTS[part]
        until = time.perf_counter() + options.minutes * 60
        row = PARTS[part](count, until, Path(os.environ["TMPDIR"]))
        write_json(options.out, {"asked": count, "bound": BOUNDS[part], **row})
        return 0
    results = read_json(options.out) if options.out.exists() else {}
    results["versions"] = versions("lava-nc", "numpy", "scipy", "torch")
    for part in chosen:
        with tempfile.TemporaryDirectory() as place:
            (temporary := Path(place) / "t").mkdir()  # short: Lava has sockets there
            written = Path(place) / "row.json"
            command = [
                sys.executable,
                "-m",
                "benchmarks.steady",
                part,
                "--here",
                "--out",
                str(written),
            ]
            command += ["--minutes", str(options.minutes)]
            if options.count:
                command += ["--count", str(options.count)]
            environment = {**os.environ, "TMPDIR": str(temporary)}
            subprocess.run(command, check=True, cwd=ROOT, env=environment)
            results[part] = read_json(written)
        write_json(options.out, results)
        print(f"{part}: {results[part]}", file=sys.stderr, flush=True)
    said = broken(results)
    print("\n".join(said) or "nothing grows")
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
