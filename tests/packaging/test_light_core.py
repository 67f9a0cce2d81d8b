"""On a Python without torch and Lava the core reads, checks, runs, compares, and says the rest."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense

pytestmark = pytest.mark.slow

# These import with NumPy and h5py alone; a name that ends in a dot stands for all below it.
LIGHT = (
    "neuroport",
    "neuroport.__main__",
    "neuroport.analysis",
    "neuroport.analysis.",
    "neuroport.sandbox",
    "neuroport.arguments",
    "neuroport.backends",
    "neuroport.backends.base",
    "neuroport.backends.fast",
    "neuroport.backends.lava_cpu",
    "neuroport.backends.lava_cpu.compiled_step",
    "neuroport.backends.lava_cpu.engine",
    "neuroport.backends.lava_cpu.fused_partition",
    "neuroport.backends.lava_cpu.installation",
    "neuroport.backends.lava_cpu.newer_python",
    "neuroport.backends.lava_cpu.stepped_population",
    "neuroport.backends.lava_cpu.supervisor",
    "neuroport.backends.lava_cpu.failure_monitor",
    "neuroport.backends.lava_cpu.worker",
    "neuroport.backends.loihi2",
    *(
        f"neuroport.backends.loihi2.{name}"
        for name in (
            *("availability", "axis_order", "bias_input", "engine", "host_stem", "legality"),
            *("loggers", "measured", "site", "worker"),
        )
    ),
    "neuroport.backends.reference",
    "neuroport.backends.stepped_populations",
    "neuroport.backends.executor",
    "neuroport.backends.compiled_network",
    "neuroport.capture",
    "neuroport.checks",
    "neuroport.cli",
    "neuroport.cli.",
    "neuroport.data",
    "neuroport.data.",
    "neuroport.display",
    "neuroport.engines",
    "neuroport.engines.",
    "neuroport.errors",
    "neuroport.deprecated",
    "neuroport.registry",
    "neuroport.files",
    "neuroport.capture.frontend",
    "neuroport.frontends",
    "neuroport.frontends.converting",
    "neuroport.frontends.modules",
    "neuroport.frontends.nir",
    "neuroport.frontends.nir.",
    "neuroport.graph",
    "neuroport.graph.",
    "neuroport.hdf5",
    "neuroport.kernels",
    "neuroport.kernels.compilation",
    "neuroport.kernels.allocator",
    "neuroport.kernels.network_kernel",
    "neuroport.lowering",
    "neuroport.lowering.",
    "neuroport.nets",
    "neuroport.nets.recipe",
    "neuroport.netx",
    "neuroport.netx.",
    "neuroport.plot",
    "neuroport.processes",
    "neuroport.quantization",
    "neuroport.recipe",
    "neuroport.reporting",
    "neuroport.reporting.",
    "neuroport.runs",
    "neuroport.runs.",
    "neuroport.scale",
    "neuroport.scale.",
    "neuroport.targets",
    "neuroport.targets.",
    "neuroport.version",
    "neuroport.training",
    "neuroport.training.metrics",
)
# These are for torch or Lava, and for nobody else.
HEAVY = (
    "neuroport.frontends.torch",
    "neuroport.frontends.torch.",
    "neuroport.backends.lava_cpu.build",
    "neuroport.backends.lava_cpu.counters",
    "neuroport.backends.lava_cpu.fused_build",
    "neuroport.backends.lava_cpu.fused_state",
    "neuroport.backends.lava_cpu.processes",
    "neuroport.backends.lava_cpu.processes.",
    "neuroport.backends.lava_cpu.weight_products",
    "neuroport.backends.lava_cpu.run_config",
    "neuroport.backends.lava_cpu.stock_relays",
    "neuroport.backends.loihi2.build",
    "neuroport.backends.loihi2.processes",
    "neuroport.backends.loihi2.processes.",
    "neuroport.backends.loihi2.host_connection",
    "neuroport.backends.loihi2.run_config",
    "neuroport.backends.gpu_network",
    "neuroport.backends.module",
    "neuroport.capture.",
    "neuroport.demo",
    "neuroport.kernels.convolution",
    "neuroport.kernels.devices",
    "neuroport.kernels.exact_products",
    "neuroport.kernels.lif_kernels",
    "neuroport.kernels.batchnorm_kernels",
    "neuroport.kernels.exact_sums",
    "neuroport.kernels.surrogate",
    "neuroport.kernels.torch_neurons",
    "neuroport.kernels.triton_network",
    "neuroport.kernels.triton_neurons",
    "neuroport.nets.",
    "neuroport.quantization.",
    "neuroport.training.",
)

IMPORT_EACH = """\
import importlib, json, pathlib, neuroport
folder = pathlib.Path(neuroport.__file__).parent
found = {}
for path in sorted(folder.rglob("*.py")):
    parts = path.relative_to(folder.parent).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    try:
        importlib.import_module(name)
        found[name] = None
    except ImportError as error:
        found[name] = str(error.name)
print(json.dumps(found))
"""


def python_312(root: Path) -> str:
    """A Python 3.12, asked in the repository's root, where version switchers find their file."""
    if sys.version_info[:2] == (3, 12):
        return sys.executable
    found = shutil.which("python3.12")
    if found is not None:
        done = subprocess.run([found, "--version"], cwd=root, capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.startswith("Python 3.12"):
            return found
    pytest.skip("no python3.12 on the path; install one to test the light core on it")


@pytest.fixture(scope="module")
def light(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of programs of an environment that holds the wheel and its core dependencies."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet"]
    for command in (
        [python_312(root), "-m", "venv", str(folder)],
        [*pip, "install", "--no-compile", str(wheel)],  # what is imported is compiled soon enough
    ):
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def call(
    light: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program of that environment, far from the repository and its package."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(light / program), *map(str, arguments)]
        return subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120
        )

    return run


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name == p or (p.endswith(".") and name.startswith(p)) for p in patterns)


def test_neither_torch_nor_lava_is_installed(call: Any) -> None:
    code = (
        "from importlib.util import find_spec\n"
        "names = 'torch torchvision lava tonic safetensors mlxtend scipy'.split()\n"
        "print([name for name in names if find_spec(name)])\n"
        "import neuroport, sys; print(neuroport.__file__, sys.version_info[:2])"
    )
    done = call("python", "-c", code)
    first, second = done.stdout.splitlines()
    assert first == "[]"
    assert "site-packages" in second
    assert second.endswith("(3, 12)")


@pytest.mark.parametrize(
    "command", [("python", "-c", "import neuroport"), ("neuroport", "--help")], ids=["import", "-h"]
)
def test_import_and_help_take_less_than_a_second(call: Any, command: tuple[str, ...]) -> None:
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        assert call(*command).returncode == 0
        taken.append(time.perf_counter() - started)
    assert statistics.median(taken) < 1


def test_every_module_that_needs_no_torch_imports_without_it(call: Any) -> None:
    done = call("python", "-c", IMPORT_EACH)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    unknown = [n for n in found if not matches(n, LIGHT) and not matches(n, HEAVY)]
    assert unknown == [], "say in LIGHT or HEAVY whether these need torch"
    light = {name: missing for name, missing in found.items() if matches(name, LIGHT)}
    assert len(light) > 25
    assert {name: missing for name, missing in light.items() if missing is not None} == {}
    heavy = {name: missing for name, missing in found.items() if not matches(name, LIGHT)}
    assert {(missing or "").split(".")[0] for missing in heavy.values()} <= {
        "",  # a package of heavy modules may be empty itself
        "torch",
        "lava",
        "safetensors",
        "scipy",
    }


def test_the_reference_engine_gives_the_same_answer_as_here(
    call: Any, neuroport: Any, network: Path, frames: Path
) -> None:
    arguments = ("run", network, "--frames", frames, "--on", "reference", "--json")
    there, here = call("neuroport", *arguments), neuroport(*arguments)
    assert there.returncode == here.returncode == 0, there.stderr
    got, want = json.loads(there.stdout), json.loads(here.stdout)
    assert sum(want["spikes"].values()) > 0
    for key in ("predictions", "spikes", "samples"):
        assert got[key] == want[key]
    for key in ("graph", "frames"):
        assert got["provenance"][key] == want["provenance"][key]


def test_show_and_check_work(call: Any, network: Path) -> None:
    shown = call("neuroport", "show", network)
    assert shown.returncode == 0
    assert shown.stdout == f"{port.read(network)}\n"
    checked = call("neuroport", "check", network)
    assert checked.returncode == 0
    assert "0 violations" in checked.stdout


def test_lower_and_export_write_the_same_file_as_here(
    call: Any, quantized: Path, network: Path, tmp_path: Path
) -> None:
    assert call("neuroport", "lower", quantized, "-o", tmp_path / "a.graph").returncode == 0
    done = call("neuroport", "export", tmp_path / "a.graph", "-o", tmp_path / "a.net")
    assert done.returncode == 0, done.stderr
    assert port.read(tmp_path / "a.net").hash == port.read(network).hash


def test_compare_finds_equal_networks_equal_and_others_different(
    call: Any, network: Path, frames: Path, tmp_path: Path
) -> None:
    same = call("neuroport", "compare", network, network, "--frames", frames)
    assert same.returncode == 0, same.stderr
    assert ", 0 differ" in same.stdout
    graph = port.read(network)
    nodes = [replace(n, weight=-n.weight) if isinstance(n, Dense) else n for n in graph]
    port.export(Graph(nodes, graph.steps), tmp_path / "negated.net")
    other = call("neuroport", "compare", network, tmp_path / "negated.net", "--frames", frames)
    assert other.returncode == 1
    assert "first divergence: population 'readout.potential'" in other.stdout


def test_a_report_is_drawn_without_torch(
    call: Any, network: Path, frames: Path, tmp_path: Path
) -> None:
    trace, page = tmp_path / "net.trace", tmp_path / "page.html"
    assert call("neuroport", "run", network, "--frames", frames, "-o", trace).returncode == 0
    done = call("neuroport", "report", network, "--trace", trace, "-o", page)
    assert done.returncode == 0, done.stderr
    assert page.read_text().rstrip().endswith("</html>")
    want = port.run(port.read(network), np.load(frames))
    assert port.compare(want, port.Trace.load(trace))


def test_the_lava_engine_says_why_it_is_not_there(call: Any, network: Path, frames: Path) -> None:
    done = call("neuroport", "run", network, "--frames", frames, "--on", "lava-cpu")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("neuroport: engine 'lava-cpu' is not available: ")
    assert line.endswith("install it with: neuroport backends --install lava")
    listed = call("neuroport", "backends", "--json")
    facts = json.loads(listed.stdout)["backends"]
    assert facts["reference"]["available"] is True
    assert facts["lava-cpu"]["available"] is False
    assert "backends --install lava" in facts["lava-cpu"]["reason"]


@pytest.mark.parametrize("verb", ["train", "quantize", "run"])
def test_what_needs_torch_says_that_torch_is_missing(
    call: Any, trained: Path, frames: Path, tmp_path: Path, verb: str
) -> None:
    arguments: dict[str, tuple[object, ...]] = {
        "train": ("demo", "-o", tmp_path / "run"),
        "quantize": (trained, "-o", tmp_path / "out.graph"),
        "run": (trained, "--frames", frames),
    }
    done = call("neuroport", verb, *arguments[verb])
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("neuroport: ")
    assert "torch" in line
    assert ".[train]" in line
    assert list(tmp_path.iterdir()) == []


def test_a_public_name_that_needs_torch_says_so(call: Any) -> None:
    code = "import neuroport as p\ntry: p.fit\nexcept p.NeuroportError as e: print(e.message)"
    done = call("python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert "neuroport.fit needs torch" in done.stdout
    assert ".[train]" in done.stdout
