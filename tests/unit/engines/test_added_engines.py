"""Engines of other packages: added by an entry point, run by name, with options of their own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.engines.table import ENGINES, engines, ready
from neuroport.errors import BackendError, FramesError, NeuroportWarning
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Readout
from neuroport.graph.store import save
from tests.conftest import Neuroport
from tests.helpers.distribution import distribution

PACKAGE = Path(port.__file__).parent

THEIRS = """
from dataclasses import dataclass

from neuroport.engines import Engine, Options, option


@dataclass(frozen=True)
class TheirOptions(Options):
    level: int = option(1, "How hard it tries.", low=1, high=9)
    samples: int = option(5, "A name that commands have for something else.")
    sure: bool = option(True, "Whether it is.")


class Theirs(Engine):
    name = "theirs"
    summary = "an engine of another package"
    Options = TheirOptions

    def plan(self, graph, options):
        from neuroport.engines.reference import Reference

        inner = Reference().prepare(graph, record=options.record)

        def run(frames, progress):
            trace = inner.run(frames, progress=progress)
            trace.provenance.update(engine=self.name, level=options.level)
            trace.provenance.update(sure=options.sure, theirs=options.samples)
            return trace

        return run
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs a package with an engine ``theirs``, for this process."""
    entries = "[neuroport.engines]\ntheirs = their_engine:Theirs\n"
    folder = distribution(tmp_path / "site", entries, {"their_engine.py": THEIRS})
    monkeypatch.syspath_prepend(folder)
    return folder


def graph() -> Graph:
    nodes = [
        Input("frames", (3,), bits=2),
        Dense("in", ("frames",), [[40, 0, 2], [0, 90, 0]]),
        Lif("neurons", ("in",), threshold=60),
        Dense("out", ("neurons",), [[2, -4]]),
        Readout("answer", ("out",)),
    ]
    return Graph(nodes, 4)


FRAMES = np.random.default_rng(0).integers(0, 4, (4, 5, 3))


def test_an_engine_of_another_package_runs_by_its_name(theirs: Path) -> None:
    got = port.run(graph(), FRAMES, on="theirs", level=3)
    assert (got.provenance["engine"], got.provenance["level"]) == ("theirs", 3)
    assert port.compare(port.run(graph(), FRAMES), got)
    with port.prepare(graph(), "theirs") as prepared:
        assert prepared.run(FRAMES[:, :2]).provenance["level"] == 1
    assert list(engines()) == ["reference", "fast", "lava-cpu", "loihi2", "theirs"]


def test_an_engine_need_not_tell_how_long_it_ran(
    theirs: Path, called: Neuroport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "their_engine", raising=False)
    silent = THEIRS.replace(
        "            return trace\n",
        "            del trace.provenance['seconds']\n            return trace\n",
    )
    (theirs / "their_engine.py").write_text(silent)
    save(graph(), tmp_path / "a.graph")
    np.save(tmp_path / "f.npy", FRAMES)
    done = called("run", "a.graph", "--frames", "f.npy", "--on", "theirs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("theirs: 5 samples, 2 populations, ")
    assert " s\n" not in done.stdout


def test_without_its_package_the_engine_is_unknown() -> None:
    with pytest.raises(BackendError, match="unknown engine 'theirs'; the engines are reference, "):
        port.run(graph(), FRAMES, on="theirs")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"level": 0}, "level is 0; use 1 or more and at most 9"),
        ({"level": 10}, "level is 10; use 1 or more and at most 9"),
        ({"level": True}, "level is True; give a whole number"),
        ({"device": "cpu"}, "engine 'theirs' has no option 'device'; it takes progress, record, "),
    ],
)
def test_its_options_have_types_and_ranges(
    theirs: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(BackendError) as caught:
        port.run(graph(), FRAMES, on="theirs", **options)
    assert caught.value.message.startswith(says)


def test_the_command_line_runs_it_with_an_option_of_its_own(theirs: Path, tmp_path: Path) -> None:
    from neuroport.graph.store import save

    save(graph(), tmp_path / "a.graph")
    np.save(tmp_path / "frames.npy", FRAMES)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(theirs), str(PACKAGE.parent)])
        return subprocess.run(
            [sys.executable, "-m", "neuroport", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )

    run = ("run", "a.graph", "--frames", "frames.npy")
    done = call(*run, "--on", "theirs", "--level", "7", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["provenance"]
    assert (told["engine"], told["level"]) == ("theirs", 7)
    assert told["sure"] is True
    few = call(*run, "--on", "theirs", "--no-sure", "--samples", "2", "--json")
    assert few.returncode == 0, few.stderr
    found = json.loads(few.stdout)
    assert (found["samples"], found["provenance"]["sure"]) == (2, False)
    assert found["provenance"]["theirs"] == 5  # --samples is the command's
    assert "--level INTEGER" in call("run", "--help").stdout
    assert "On theirs: How hard it tries." in " ".join(call("run", "--help").stdout.split())
    other = call(*run, "--level", "7")
    assert other.returncode == 2
    assert other.stderr == ("neuroport: --level is for theirs; leave it out on 'reference'\n")
    assert call(*run, "--on", "theirs", "--level", "0").stderr.startswith("neuroport: level is 0; ")
    assert "theirs     an engine of another package: available" in call("backends").stdout


def test_a_package_that_cannot_be_imported_stops_nobody_but_who_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neuroport.engines.table import options

    entries = "[neuroport.engines]\nbroken = broken_engine:Broken\n"
    folder = distribution(tmp_path, entries, {"broken_engine.py": "import no_such_module_anywhere"})
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(BackendError, match="'broken' of the package theirs cannot be imported"):
        port.run(graph(), FRAMES, on="broken")
    assert port.run(graph(), FRAMES, on="reference").samples == 5
    assert isinstance(engines()["broken"], BackendError)
    assert all("broken" not in owners for owners in options())


def test_an_engine_with_another_name_than_its_entry_point_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = "[neuroport.engines]\nours = their_engine:Theirs\n"
    monkeypatch.delitem(sys.modules, "their_engine", raising=False)
    monkeypatch.syspath_prepend(distribution(tmp_path, entries, {"their_engine.py": THEIRS}))
    with pytest.raises(BackendError, match="engine 'ours' of a package calls itself 'theirs'; its"):
        port.run(graph(), FRAMES, on="ours")


def test_what_is_no_engine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = "[neuroport.engines]\nodd = odd_engine:Odd\n"
    monkeypatch.syspath_prepend(distribution(tmp_path, entries, {"odd_engine.py": "Odd = 5"}))
    with pytest.raises(BackendError, match="engine 'odd' is 5; a package adds a class derived"):
        ready("odd")


def test_a_name_of_two_packages_is_refused_and_one_of_neuroports_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = "[neuroport.engines]\nsame = {0}_engine:Theirs\nfast = {0}_engine:Theirs\n"
    for name in ("first", "second"):
        sources = {f"{name}_engine.py": THEIRS}
        monkeypatch.syspath_prepend(
            distribution(tmp_path / name, entries.format(name), sources, name)
        )
    with (
        pytest.raises(BackendError, match=r"'same' is added by the package .* and the package "),
        pytest.warns(NeuroportWarning, match=r"'fast' of the package .* is ignored"),
    ):
        ready("same")
    assert type(ready("fast")).__module__ == "neuroport.engines.fast"


def test_prepared_networks_check_every_call_and_end_once_closed() -> None:
    prepared = port.prepare(graph(), "reference")
    want = port.run(graph(), FRAMES)
    for _ in range(2):
        assert port.compare(want, prepared.run(FRAMES.tolist()))
    with pytest.raises(FramesError, match=r"the input takes 0\.\.3"):
        prepared.run(FRAMES + 4)
    with pytest.raises(BackendError, match="progress is 5; give a function"):
        prepared.run(FRAMES, progress=5)  # type: ignore[arg-type]
    prepared.close()
    prepared.close()
    with pytest.raises(BackendError, match="was closed; prepare it again"):
        prepared.run(FRAMES)


def test_a_prepared_network_may_be_run_from_several_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    pytest.importorskip("torch")
    with port.prepare(graph(), "fast") as prepared, ThreadPoolExecutor(4) as pool:
        parts = [FRAMES[:, n : n + 1] for n in range(5)] * 8
        for part, got in zip(parts, pool.map(prepared.run, parts), strict=True):
            assert port.compare(port.run(graph(), part), got)


def test_no_name_of_an_engine_is_tested_outside_of_its_own_files() -> None:
    own = {PACKAGE / "engines", *(PACKAGE / "backends").iterdir()}
    files = [path for path in PACKAGE.rglob("*.py") if not own & {path, *path.parents}]
    assert len(files) > 100
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in files
        for line, text in compared_with(path.read_text())
        # among kinds of arguments "module" is a torch module, no engine
        if text in ENGINES.own and (path.name, text) != ("arguments.py", "module")
    ]
    assert wrong == []


def compared_with(source: str) -> Iterator[tuple[int, object]]:
    """Constants that a source compares with, in an expression or a ``match``, and their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.MatchValue):
            sides: list[ast.expr] = [node.value]
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        else:
            continue
        for side in sides:
            for part in side.elts if isinstance(side, (ast.Tuple, ast.List, ast.Set)) else [side]:
                if isinstance(part, ast.Constant):
                    yield part.lineno, part.value


def test_a_name_that_is_tested_is_found_wherever_it_stands() -> None:
    assert list(compared_with("if on == 'fast' or 'a' in ('b', on): pass")) == [
        (1, "fast"), (1, "a"), (1, "b")
    ]  # fmt: skip
    assert list(compared_with("match on:\n  case 'fast': pass")) == [(2, "fast")]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("neuroport.backends", "run"),
        ("neuroport.backends.base", "backend"),
        ("neuroport.backends.base", "backends"),
        ("neuroport.backends.reference", "Reference"),
        ("neuroport.backends.lava_cpu", "LavaCpu"),
        ("neuroport.backends.loihi2", "Loihi2"),
    ],
)
def test_names_that_moved_are_importable_with_a_warning(module: str, name: str) -> None:
    from importlib import import_module

    with pytest.warns(DeprecationWarning, match=f"{module}.{name} is neuroport.engines."):
        assert callable(getattr(import_module(module), name))
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        import_module(module).other  # noqa: B018
