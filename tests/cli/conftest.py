"""Verbs called in this process, where a process of their own would prove nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from neuroport.cli import main

Neuroport = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Neuroport:
    """As ``neuroport``, without a process: the whole entry point, its output and its exit code."""

    def call(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["neuroport", *map(str, arguments)])
        capsys.readouterr()
        before = os.getcwd()
        os.chdir(cwd)
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0
        finally:
            os.chdir(before)
        return subprocess.CompletedProcess(sys.argv, code, *capsys.readouterr())

    return call
