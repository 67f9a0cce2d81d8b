"""Lava's run configuration for a board, without any fallback to the host. For the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lava.magma.core.model.py.model import AbstractPyProcessModel
from lava.magma.core.run_configs import AbstractNcProcessModel, Loihi2HwCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.graded.process import GradedVec
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.prodneuron.process import ProdNeuron
from lava.proc.sparse.process import Sparse

ON_CHIP = (LIF, LIFReset, GradedVec, ProdNeuron, Conv, Dense, Sparse)


class HardwareOnly(Loihi2HwCfg):  # type: ignore[misc]
    """``Loihi2HwCfg`` that runs no neuron and no synapse on the host.

    Lava silently falls back to its CPU simulator for a process without a hardware model, and for
    all processes if a ``select_tag`` such as ``fixed_pt`` is given, which hardware models lack. The
    results would then wrongly be called measured. No tag is given here, and the fallback is an
    error.
    """

    def select(self, process: Any, proc_models: Sequence[Any]) -> Any:
        model = super().select(process, proc_models)
        simulated = issubclass(model, AbstractPyProcessModel)
        if isinstance(process, ON_CHIP) and simulated and not _on_core(model):
            raise RuntimeError(
                f"Lava's extension has no model of {type(process).__name__} for a neuron core; it "
                f"would run {model.__name__} on the host"
            )
        return model


def _on_core(model: Any) -> bool:
    return issubclass(model, AbstractNcProcessModel)
