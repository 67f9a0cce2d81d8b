"""Lava's run configuration for its CPU simulator, which records readouts. Imported by workers.

A readout is a stock ``LIFReset`` that never fires, and a LIF does not send its voltage. Reading it
through a ``RefPort`` would stop every process of the network at every step, which doubles the time
of a run. So Lava's own model of a process that is to be recorded writes its voltage to a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.lif.models import PyLifResetModelBitAcc
from lava.proc.lif.process import LIFReset

RECORDED = "recorded"  # parameter of a process: the array file


def record(process: LIFReset, path: Path, steps: int) -> None:
    """Let ``process`` write its voltage after step t to row t of an array file."""
    np.save(path, np.zeros((steps, *process.v.shape), np.int32))
    process.proc_params[RECORDED] = str(path)


class Simulated(Loihi2SimCfg):  # type: ignore[misc]
    """``Loihi2SimCfg`` of fixed-point models, which knows what is to be recorded."""

    def __init__(self) -> None:
        super().__init__(select_tag="fixed_pt")

    def select(self, process: Any, proc_models: Sequence[Any]) -> Any:
        recorded = isinstance(process, LIFReset) and process.proc_params.get(RECORDED)
        return RecordedLif if recorded else super().select(process, proc_models)


class RecordedLif(PyLifResetModelBitAcc):  # type: ignore[misc]
    """Lava's model, unchanged; after every step it writes its voltage down."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params[RECORDED], mmap_mode="r+")

    def run_spk(self) -> None:
        super().run_spk()
        self.rows[self.time_step - 1] = self.v
