"""The compiled kernels for 64-bit ARM, emulated; ``python -m tests.arm`` compares far more."""

from __future__ import annotations

import platform
import signal
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch")

from neuroport.files import read_json
from neuroport.kernels import compilation
from neuroport.kernels.compilation import level_of
from tests.arm.__main__ import RESULTS, page
from tests.arm.emulated import PATHS, Emulated, missing
from tests.arm.probe import cases, compare, layer, training, training_here

DOT, MATRIX = 1 << 20, 1 << 13  # HWCAP_ASIMDDP, HWCAP2_I8MM of Linux
stored = pytest.mark.skipif(not RESULTS.exists(), reason="no results are kept; make arm")
emulated = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> list[Emulated]:
    folder = tmp_path_factory.mktemp("arm")
    return [Emulated(path, folder) for path in PATHS]


@emulated
def test_every_path_sends_what_the_reference_sends(libraries: list[Emulated]) -> None:
    for graph, frames in cases(range(12), range(4)):
        for name, found in compare(libraries, graph, frames).items():
            assert not found["differing"], f"{name} on\n{graph}"
    assert [library.network_largest_byte() for library in libraries] == [0, 127, 127, 255]
    assert set(libraries[0].synapses) == {"32 bits"}
    assert all(min(library.synapses.values()) > 1 for library in libraries)
    assert all(len(library.synapses) == 3 for library in libraries[1:])


@emulated
def test_the_level_is_chosen_by_what_the_processor_has(libraries: list[Emulated]) -> None:
    names = [path.name for path in PATHS]
    levels = [level_of(library.hwcap, library.hwcap2).name for library in libraries]
    assert levels == ["NEON", *names[1:]]
    for at, library in enumerate(libraries):
        compare([library], *layer(1))
        for other in libraries[at:]:
            library.run(other.cpu, "1", given=library.call)
        for older in {other.cpu for other in libraries[:at]} - {library.cpu}:
            with pytest.raises(subprocess.CalledProcessError) as ended:
                library.run(older, "1", given=library.call)
            assert ended.value.returncode == -signal.SIGILL


@pytest.mark.parametrize(
    ("hwcap", "hwcap2", "name"),
    [
        (0b11, 0, "NEON"),
        (0b11 | DOT, 0, "dot product"),
        (0b11 | DOT, MATRIX, "I8MM"),
        (0b11, MATRIX, "NEON"),  # no such processor is known
    ],
)
def test_the_level_of_what_linux_tells(hwcap: int, hwcap2: int, name: str) -> None:
    assert level_of(hwcap, hwcap2).name == name


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a test of another processor's flags")
def test_an_x86_processor_compiles_for_itself() -> None:
    assert compilation.arm_level() is None
    assert "-march=native" in compilation.FLAGS


def test_apples_processors_have_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    level = compilation.arm_level()
    assert level is not None
    assert level.architecture == "armv8.2-a+dotprod"
    assert compilation.instructions() == level.name == "dot product"


@pytest.mark.long
@emulated
def test_kernels_of_training_compute_the_same_bits(tmp_path: Path) -> None:
    want = training_here(tmp_path)
    assert len(want) > 1_000_000
    assert training(PATHS[-1], tmp_path) == want


@stored
def test_committed_results_are_of_every_path_without_a_difference() -> None:
    results = read_json(RESULTS)
    assert list(results["paths"]) == [path.name for path in PATHS]
    for found in results["paths"].values():
        assert found["compared"] > 2_000_000
        assert found["differing"] == 0
        assert all(found["synapses by width of products"].values())
    assert results["training"]["compared"] > 1_000_000
    assert results["training"]["differing"] == 0


@stored
def test_the_page_holds_the_results(root: Path) -> None:
    assert page(read_json(RESULTS)) in (root / "docs" / "performance.md").read_text()
