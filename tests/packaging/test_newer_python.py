"""Lava on Pythons newer than the one that it declares: installed by one command, equal spikes."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import neuroport as port
from neuroport.backends.lava_cpu import installation, newer_python

NEWER = ("python3.13", "python3.12", "python3.11")
DEFAULTS = (  # of Lava 0.10.0, which Python 3.11 refuses
    *("CoreEncoder.x", "CoreEncoder.y", "CoreEncoder.p"),
    *("ChipEncoder.x", "ChipEncoder.y", "ChipEncoder.z"),
    *("AxonEncoder.hi", "AxonEncoder.lo"),
)


def dataclass_defaults(source: str) -> Iterator[str]:
    """Fields of dataclasses whose default is made by calling a class."""
    for node in ast.walk(ast.parse(source)):
        decorators = getattr(node, "decorator_list", [])
        if not isinstance(node, ast.ClassDef) or "dataclass" not in map(ast.unparse, decorators):
            continue
        for item in node.body:
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.value, ast.Call):
                continue
            called = ast.unparse(item.value.func)
            if called.split(".")[-1] != "field" and called[:1].isupper():
                yield f"{node.name}.{ast.unparse(item.target)}"


@pytest.mark.lava
def test_what_newer_pythons_refuse_of_lava_is_what_is_mended() -> None:
    import lava.magma

    folder = Path(next(iter(lava.magma.__path__)))
    found = {
        path.relative_to(folder).as_posix(): tuple(dataclass_defaults(path.read_text()))
        for path in folder.rglob("*.py")
    }
    assert {path: names for path, names in found.items() if names} == {
        "compiler/var_model.py": DEFAULTS
    }, "Lava has changed: see neuroport/backends/lava_cpu/newer_python.py"
    assert newer_python.MODULE == "lava.magma.compiler.var_model"


@pytest.mark.lava
def test_what_newer_numpys_refuse_of_lava_is_what_is_mended() -> None:
    """Names that NumPy lacks, and the keyword that ``reshape`` lacks, in what runs on Lava."""
    import lava.magma

    folder = Path(next(iter(lava.magma.__path__))).parent
    found = set()
    for path in [*folder.glob("magma/**/*.py"), *folder.glob("proc/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            words = [word.arg for word in getattr(node, "keywords", ()) if word.arg == "newshape"]
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np", "numpy"):
                words += [] if hasattr(np, node.attr) else [node.attr]
            found |= {(path.relative_to(folder).as_posix(), word) for word in words}
    assert found == {("magma/core/process/ports/ports.py", "newshape")}, (
        "Lava has changed, or NumPy: see neuroport/backends/lava_cpu/newer_python.py"
    )


@pytest.mark.lava
def test_ports_reshape_as_lavas_own_do() -> None:
    """On the NumPy that has them, Lava's own functions beside those that replace them."""
    code = (
        "import numpy as np\n"
        "from neuroport.backends.lava_cpu import newer_python\n"
        "newer_python.prepare()\n"
        "from lava.magma.core.process.ports import ports\n"
        "def said(data):\n"
        "    port = ports.ReshapePort((2, 3), (6,))\n"
        "    forth = port.get_transform_func_fwd()(data)\n"
        "    return forth, port.get_transform_func_bwd()(forth)\n"
        "data = np.arange(6)\n"
        "before = said(data)\n"
        "newer_python._reshape_by_position(ports)\n"
        "for got in (before, said(data)):\n"
        "    print([x.tolist() for x in got])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["[[[0, 1, 2], [3, 4, 5]], [0, 1, 2, 3, 4, 5]]"] * 2, (
        done.stderr
    )


def test_pythons_that_lava_was_not_run_on_are_refused_by_number() -> None:
    assert installation.unsupported((3, 10, 13)) is None
    assert installation.unsupported((3, 13, 0)) is None
    for version in ((3, 9, 1), (3, 14, 0)):
        reason = installation.unsupported(version)
        assert reason is not None
        assert "Python 3.10 to 3.13" in reason
        assert ".".join(map(str, version)) in reason


def test_an_installation_executes_nothing_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pip.py").write_text("raise SystemExit('this is not pip')\n")
    version = [sys.executable, "-m", "pip", "--version"]
    monkeypatch.setattr(installation, "commands", lambda *_: [version])
    installation.install("lava")
    said = capfd.readouterr()
    assert said.out.startswith("pip ")
    assert "this is not pip" not in said.err


@pytest.mark.parametrize("package", installation.PACKAGES)
def test_the_wheel_of_lava_is_installed_by_hash_and_alone(package: str) -> None:
    *_, last = installation.commands(package, (3, 12, 1), "lava.txt")
    for option in ("--require-hashes", "--no-deps", "--ignore-requires-python"):
        assert option in last
    assert "--hash=sha256:" in installation.PACKAGES[package].wheel


@pytest.fixture(scope="module")
def newer(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of programs of a newer Python with the wheel, and Lava by its one command."""
    python = next((p for p in map(shutil.which, NEWER) if p and works(p, root)), None)
    if python is None:
        pytest.skip(f"none of {', '.join(NEWER)} is on the path; Lava on it is not tested")
    folder = tmp_path_factory.mktemp("newer") / "venv"
    for command in (
        [python, "-m", "venv", folder],
        [folder / "bin" / "python", "-m", "pip", "-q", "install", wheel],
        [folder / "bin" / "neuroport", "backends", "--install", "lava", "--yes"],
    ):
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
    return folder / "bin"


def works(python: str, root: Path) -> bool:
    """A version switcher's program may be there without its Python."""
    done = subprocess.run([python, "--version"], cwd=root, capture_output=True)
    return done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["stock", "fused"])
def test_digits_on_lava_on_a_newer_python_are_those_of_the_reference(
    newer: Path, root: Path, tmp_path: Path, processes: str
) -> None:
    model = root / "models" / "ms_resnet8_mnist"
    frames, trace = tmp_path / "frames.npy", tmp_path / "lava.trace"
    np.save(frames, np.load(model / "frames.npy")[:, :2])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [newer / "neuroport", "run", model / "network.net", "--frames", frames]
    options = ["--on", "lava-cpu", "--processes", processes, "-o", trace]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    got = port.Trace.load(trace)
    assert got.provenance["processes"] == processes
    verdict = port.compare(port.run(model / "network.net", np.load(frames)), got)
    assert verdict, str(verdict)
    assert verdict.positions == 777_808


def test_a_hash_is_given_to_dataclasses_of_one_module_only() -> None:
    code = (
        "import dataclasses\n"
        "from neuroport.backends.lava_cpu.newer_python import _hashed\n"
        "with _hashed('there'):\n"
        "    there = dataclasses.dataclass(type('A', (), {'__module__': 'there'}))\n"
        "    here = dataclasses.dataclass(type('B', (), {'__module__': 'here'}))\n"
        "after = dataclasses.dataclass(type('C', (), {'__module__': 'there'}))\n"
        "print(there.__hash__ is not None, here.__hash__, after.__hash__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "None", "None"], done.stderr
