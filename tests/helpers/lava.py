"""Lava in the process of the tests, for what needs no run."""

from __future__ import annotations

import multiprocessing
from importlib.util import find_spec
from typing import Any

import pytest


def lava_module(name: str) -> Any:
    """A module of Lava or lava-dl, or a skip where it is not installed.

    On import Lava sets how processes start, which it may only where nothing started one before.
    """
    if find_spec("lava") is None:
        pytest.skip("Lava is not installed; `neuroport backends --install lava` installs it")

    def set_again(method: str, force: bool = True) -> None:
        original(method, force=True)

    original = multiprocessing.set_start_method
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "set_start_method", set_again)
        return pytest.importorskip(name)
