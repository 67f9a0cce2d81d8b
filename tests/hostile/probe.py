"""Read one file in a process of its own, as a user would, and measure what it cost."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from neuroport import netx
from neuroport.cli import main
from neuroport.errors import FormatError, HashError, NeuroportError
from neuroport.graph import store
from neuroport.runs.trace import Trace
from tests.hostile.mutations import Mutation
from tests.hostile.others import OTHERS
from tests.hostile.samples import graph, trace

HANG = 60  # seconds; the reader itself gives up sooner, also where a process gets little time


def probe(mutation: Mutation, folder: Path, cli: bool = False) -> dict[str, Any]:
    """What became of the file: ``outcome``, ``wall`` and ``cpu`` in seconds, ``memory`` in MB.

    ``outcome`` is *equal*, *refused*, *hash* (refused by its hash), *read* (a stock file, which has
    no hash that would tell of a changed value), or says what went wrong.
    """
    path = folder / f"mutated.{mutation.what}"
    path.write_bytes(mutation.content)
    incoming, outgoing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(HANG)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.write(outgoing, json.dumps(_measured(mutation, path, cli)).encode())
        finally:
            os._exit(0)
    os.close(outgoing)
    said = b"".join(iter(lambda: os.read(incoming, 1 << 16), b""))
    os.close(incoming)
    _, status = os.waitpid(child, 0)
    if said:
        result: dict[str, Any] = json.loads(said)
        return result
    ended = os.waitstatus_to_exitcode(status)
    how = "hung" if ended == -signal.SIGALRM else f"crashed the process ({ended})"
    return {"outcome": how, "wall": HANG, "cpu": HANG, "memory": 0}


def _measured(mutation: Mutation, path: Path, cli: bool) -> dict[str, Any]:
    base, wall, cpu = _resident(), time.perf_counter(), sum(os.times()[:4])
    outcome = _outcome(mutation, path)
    wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
    own, forked = (
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    memory = max(0.0, own - base) + max(0.0, forked - base)
    found = {"outcome": outcome, "wall": wall, "cpu": cpu, "memory": memory}
    if mutation.what == "graph" and mutation.seed % 4 == 0:
        # nobody asks for the hash: anything but a traceback
        try:
            str(store.load(path, verify=False))
        except FormatError:
            pass
        except BaseException as error:
            found["outcome"] = f"unverified: {type(error).__name__}: {error}"[:200]
    if cli and found["outcome"] in ("equal", "refused", "hash", "read"):
        found["outcome"] = _verbs(mutation, path, outcome)
        found["cli"] = True
    return found


def _outcome(mutation: Mutation, path: Path) -> str:
    try:
        if mutation.what in OTHERS:
            return OTHERS[mutation.what].outcome(path)
        if mutation.what == "trace":
            return "equal" if _same(Trace.load(path), trace()) else "read as another trace"
        if mutation.what == "stock":
            netx.read(path)
            return "read"
        found = store.load(path)
        same = found.hash == graph().hash and str(found) == str(graph())
        return "equal" if same else "read as another graph"
    except HashError as error:
        return _told("hash", error, path)
    except NeuroportError as error:
        if isinstance(error, FormatError) or mutation.what in OTHERS:
            return _told("refused", error, path)
        return f"{type(error).__name__}: {error}"[:200]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]


def _told(outcome: str, error: NeuroportError, path: Path) -> str:
    """A refusal is one short line that can be printed and names the file, or where it lies."""
    said = error.message
    named = str(path.parent if path.name.startswith("mutated") else path)
    good = named in said and said.isprintable() and len(said) < 600 + len(str(path))
    return outcome if good else f"{outcome} with {said[:200]!r}"


def _same(got: Trace, want: Trace) -> bool:
    return (
        list(got.messages) == list(want.messages)
        and got.kinds == want.kinds
        and got.provenance == want.provenance
        and all(
            got[name].dtype == want[name].dtype and np.array_equal(got[name], want[name])
            for name in want.messages
        )
    )


def _verbs(mutation: Mutation, path: Path, outcome: str) -> str:
    """The command line on the same file: exit code 2 and one line, or it reads it."""
    good = path.with_name("good.trace")
    verbs = {
        "trace": [["compare", good, path]],
        "target": [["targets", path]],
        "frames": [["run", path.with_name("good.graph"), "--frames", path]],
    }.get(mutation.what, [] if mutation.what in OTHERS else [["show", path], ["check", path]])
    for arguments in verbs:
        out, err = io.StringIO(), io.StringIO()
        sys.argv = ["neuroport", *map(str, arguments)]
        code: Any = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
            except BaseException as error:
                return f"{arguments[0]}: {type(error).__name__}: {error}"[:200]
        if not out.getvalue().replace("\n", "").isprintable():
            return f"{arguments[0]} printed {out.getvalue()[:200]!r}"
        lines = err.getvalue().splitlines()
        refused = code == 2 and len(lines) == 1 and str(path) in lines[0]
        # a trace without a format could be a network: compare then asks for frames
        asked = code == 2 and len(lines) == 1 and arguments[0] == "compare"
        # of a stock file it says why it is no network, and what NetX would do with it
        checked = mutation.what == "stock" and arguments[0] == "check" and (code, lines) == (1, [])
        told = checked and "neuroport cannot run it, either" in out.getvalue()
        read = outcome in ("equal", "read") and code in (0, 1)
        if not (read or refused or asked or told):
            return f"{arguments[0]} ended with {code}: {err.getvalue()[-200:]}"
    return outcome


def _resident() -> float:
    """Memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
