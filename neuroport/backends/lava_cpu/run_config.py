"""Lava's run configuration for its CPU simulator, with recording and checks. Imported by workers.

A readout is Lava's ``LIFReset`` that never fires, and a LIF does not send its voltage. Reading it
through a ``RefPort`` would stop every process of the network at every step, which doubles the time
of a run. Instead, Lava's own model of a recorded process also writes its voltage to a file.
Similarly, Lava's own model of a population with declared widths checks them before each step.
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

from neuroport.graph import integers
from neuroport.graph.declared_widths import Window, refuse

RECORDED = "recorded"  # parameter of a process: the array file
DECLARED = "declared"  # parameter of a process: name, largest current, steps in which it is checked


def record(process: LIFReset, path: Path, steps: int) -> None:
    """Let ``process`` write its voltage after step t to row t of an array file."""
    np.save(path, np.zeros((steps, *process.v.shape), np.int32))
    process.proc_params[RECORDED] = str(path)


def declare(process: LIFReset, name: str, limit: int, window: Window) -> None:
    """Let ``process`` of population ``name`` end the run if it exceeds its declared widths."""
    process.proc_params[DECLARED] = (name, limit, window)


class Simulated(Loihi2SimCfg):  # type: ignore[misc]
    """``Loihi2SimCfg`` of fixed-point models that selects models which record or check."""

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
    """Lava's model, unchanged, that checks declared widths before every step."""

    def subthr_dynamics(self, activation_in: npt.NDArray[Any]) -> None:
        if declared := self.proc_params.get(DECLARED):
            name, limit, window = declared
            if window.holds(self.time_step):
                # Lava keeps a decay minus one; the bias has the exponent of the state
                given = (self.u, self.v, activation_in, self.bias_mant, self.du + 1, self.dv)
                u, v, current, bias, du, dv = (np.asarray(x, np.int64) for x in given)
                left = integers.leak_leaves(u, v, current, bias, du, dv, limit)
                refuse(name, left, self.time_step)
        super().subthr_dynamics(activation_in)


class RecordedLif(CheckedLif):
    """Lava's model, unchanged, that writes its voltage to a file after every step."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params[RECORDED], mmap_mode="r+")

    def run_spk(self) -> None:
        super().run_spk()
        self.rows[self.time_step - 1] = self.v
