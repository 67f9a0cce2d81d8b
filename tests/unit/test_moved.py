"""Names and modules of before are those of today, with a warning."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from neuroport.deprecated import MODULES

OLD = """
import sys, warnings
import neuroport
from neuroport.errors import NeuroportError
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    from neuroport.analysis import crop
    import neuroport.targets.weighing
    from neuroport.analysis.stock_road.faults import Fault
    from neuroport.data.known import Dataset
from neuroport.analysis import differing_case
from neuroport.analysis.netx_audit import faults
from neuroport.data.catalog import Dataset as Today
from neuroport.targets import tie_breaks
assert crop is differing_case and Dataset is Today and Fault is faults.Fault
assert neuroport.targets.weighing is tie_breaks
assert tie_breaks.__name__ == "neuroport.targets.tie_breaks"
for warning in told:
    print(warning.category.__name__, warning.message)
"""


def test_a_module_of_before_is_that_of_today(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OLD], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("DeprecationWarning")]
    assert len(said) == 5  # a package and a module in it among them
    assert "neuroport.analysis.crop is neuroport.analysis.differing_case now" in said[0]


def test_every_module_of_before_has_one_of_today_and_is_gone() -> None:
    folder = Path(import_module("neuroport").__file__ or "").parent
    for old, new in MODULES.items():
        assert find_spec(f"neuroport.{new}") is not None, new
        place = folder.joinpath(*old.split("."))
        assert not place.with_suffix(".py").exists(), old


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("neuroport.targets.lowering", "price_on", "options"),
        ("neuroport.targets.lowering", "ChipBill", "LoweringOption"),
        ("neuroport.targets.rules", "Violation", "Finding"),
        ("neuroport.targets.target", "Value", "Fact"),
        ("neuroport.targets.population_demands", "layers", "population_demands"),
    ],
)
def test_a_name_of_before_is_that_of_today(module: str, old: str, new: str) -> None:
    found = import_module(module)
    with pytest.warns(DeprecationWarning, match=f"{old} is {module}.{new} now"):
        assert getattr(found, old) is getattr(found, new)


def test_what_never_was_is_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'neuroport\.nothing'"):
        import_module("neuroport.nothing")
