"""How OpenMP's threads wait: as the command line sets it, unless the user has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
ASKED = """
import os, sys
from neuroport.cli.main import main
sys.argv = ["neuroport", "--version"]
try:
    main()
finally:
    print([os.environ.get(name) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")])
    print("torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, ["1000", "passive"]),
        ({"OMP_WAIT_POLICY": "passive"}, [None, "passive"]),
        ({"GOMP_SPINCOUNT": "7"}, ["7", None]),
    ],
)
def test_threads_spin_shortly_unless_the_user_says_how_they_wait(
    given: dict[str, str], seen: list[str | None]
) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | given
    done = subprocess.run(
        [sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()[-2:]
    assert said == [str(seen), "False"]  # torch, which reads them, is imported later
