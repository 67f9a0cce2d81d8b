"""Lava's run configuration for its CPU simulator, which records and checks. Imported by workers.

A readout is a stock ``LIFReset`` that never fires, and a LIF does not send its voltage. Reading it
through a ``RefPort`` would stop every process of the network at every step, which doubles the time
of a run. So Lava's own model of a process that is to be recorded writes its voltage to a file.
Likewise Lava's own model of a population with declared widths looks at them before each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.lif.models import PyLifResetModelBitAcc
from lava.proc.lif.process import LIFReset

from neuroport.backends.declared_widths import Window, refuse
from neuroport.graph import integers

RECORDED = "recorded"  # parameter of a process: the array file
DECLARED = "declared"  # parameter of a process: name, largest current, steps at which it is checked


def record(process: LIFReset, path: Path, steps: int) -> None:
    """Let ``process`` write its voltage after step t to row t of an array file."""
    np.save(path, np.zeros((steps, *process.v.shape), np.int32))
    process.proc_params[RECORDED] = str(path)


def declare(process: LIFReset, name: str, limit: int, window: Window) -> None:
    """Let ``process``, population ``name``, end the run where it leaves its declared widths."""
    process.proc_params[DECLARED] = (name, limit, window)


class Simulated(Loihi2SimCfg):  # type: ignore[misc]
    """``Loihi2SimCfg`` of fixed-point models, which knows what is to be recorded."""

    def __init__(self) -> None:
        super().__init__(select_tag="fixed_pt")

    def select(self, process: Any, proc_models: Sequence[Any]) -> Any:
        if isinstance(process, LIFReset):
            if process.proc_params.get(RECORDED):
                return RecordedLif
            if process.proc_params.get(DECLARED):
                return CheckedLif
        return super().select(process, proc_models)


class CheckedLif(PyLifResetModelBitAcc):  # type: ignore[misc]
    """Lava's model, unchanged; before every step it looks at its widths, if they are declared."""

    def subthr_dynamics(self, activation_in: npt.NDArray[Any]) -> None:
        if declared := self.proc_params.get(DECLARED):
            name, limit, window = declared
            if window.holds(self.time_step):
                states = (x.astype(np.int64) for x in (self.u, self.v, activation_in))
                decays = self.du.astype(np.int64) + 1, self.dv.astype(np.int64)
                bias = self.bias_mant.astype(np.int64)  # its exponent is that of the state
                left = integers.leak_leaves(*states, bias, *decays, limit)
                refuse(name, left, self.time_step)
        super().subthr_dynamics(activation_in)


class RecordedLif(CheckedLif):
    """Lava's model, unchanged; after every step it writes its voltage down."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params[RECORDED], mmap_mode="r+")

    def run_spk(self) -> None:
        super().run_spk()
        self.rows[self.time_step - 1] = self.v
