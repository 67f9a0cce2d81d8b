"""Residual spiking networks from PyTorch to Lava and Loihi 2, spike for spike.

The names below are the public face, in the order in which a user meets them. They are imported on
first use, so that ``import neuroport`` needs neither torch nor Lava and takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from neuroport.deprecated import install
from neuroport.version import __version__ as __version__

install()

if TYPE_CHECKING:
    from neuroport.analysis.compare import Comparison, compare
    from neuroport.analysis.energy import energy
    from neuroport.analysis.merge import merge
    from neuroport.analysis.minimization_result import Minimized
    from neuroport.analysis.minimize import minimize
    from neuroport.analysis.neurobench import neurobench
    from neuroport.analysis.qualification import qualify
    from neuroport.analysis.statistics import statistics
    from neuroport.analysis.verify import verify
    from neuroport.engines.running import prepare, run
    from neuroport.errors import NeuroportError
    from neuroport.frontends.nir.importing import NirImport, from_nir, import_nir
    from neuroport.frontends.nir.writing import to_nir
    from neuroport.frontends.torch.torch_import import TorchImport, import_torch
    from neuroport.graph.graph import Graph
    from neuroport.netx import export, read
    from neuroport.quantization import quantize
    from neuroport.quantization.cost import quantization_cost
    from neuroport.recipe import Recipe, load_recipe
    from neuroport.reporting.html import report
    from neuroport.runs.trace import Trace
    from neuroport.runs.trace_file import StoredTrace
    from neuroport.scale.runs import record
    from neuroport.targets.lowering import lower
    from neuroport.targets.mapping import Mapping, map_network
    from neuroport.training.checkpoint import load
    from neuroport.training.fit import fit
    from neuroport.training.foreign_weights import ForeignWeights, import_weights
    from neuroport.training.trainable import trainable

_HOME = {
    "load_recipe": "neuroport.recipe",
    "Recipe": "neuroport.recipe",
    "fit": "neuroport.training.fit",
    "load": "neuroport.training.checkpoint",
    "import_weights": "neuroport.training.foreign_weights",
    "ForeignWeights": "neuroport.training.foreign_weights",
    "quantize": "neuroport.quantization",
    "quantization_cost": "neuroport.quantization.cost",
    "lower": "neuroport.targets.lowering",
    "export": "neuroport.netx",
    "read": "neuroport.netx",
    "run": "neuroport.engines.running",
    "prepare": "neuroport.engines.running",
    "record": "neuroport.scale.runs",
    "from_nir": "neuroport.frontends.nir.importing",
    "import_nir": "neuroport.frontends.nir.importing",
    "to_nir": "neuroport.frontends.nir.writing",
    "import_torch": "neuroport.frontends.torch.torch_import",
    "trainable": "neuroport.training.trainable",
    "compare": "neuroport.analysis.compare",
    "verify": "neuroport.analysis.verify",
    "merge": "neuroport.analysis.merge",
    "minimize": "neuroport.analysis.minimize",
    "statistics": "neuroport.analysis.statistics",
    "energy": "neuroport.analysis.energy",
    "neurobench": "neuroport.analysis.neurobench",
    "qualify": "neuroport.analysis.qualification",
    "map_network": "neuroport.targets.mapping",
    "report": "neuroport.reporting.html",
    "Graph": "neuroport.graph.graph",
    "Trace": "neuroport.runs.trace",
    "StoredTrace": "neuroport.runs.trace_file",
    "Comparison": "neuroport.analysis.compare",
    "Minimized": "neuroport.analysis.minimization_result",
    "Mapping": "neuroport.targets.mapping",
    "NirImport": "neuroport.frontends.nir.importing",
    "TorchImport": "neuroport.frontends.torch.torch_import",
    "NeuroportError": "neuroport.errors",
}

__all__ = [  # noqa: RUF022 - in the order a user meets them
    "load_recipe",
    "Recipe",
    "fit",
    "load",
    "import_weights",
    "quantize",
    "quantization_cost",
    "import_torch",
    "trainable",
    "lower",
    "export",
    "read",
    "from_nir",
    "import_nir",
    "to_nir",
    "run",
    "prepare",
    "record",
    "compare",
    "verify",
    "merge",
    "minimize",
    "statistics",
    "energy",
    "neurobench",
    "qualify",
    "map_network",
    "report",
    "Graph",
    "Trace",
    "StoredTrace",
    "Comparison",
    "Minimized",
    "Mapping",
    "NirImport",
    "TorchImport",
    "ForeignWeights",
    "NeuroportError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'neuroport' has no attribute {name!r}")
    module = _HOME[name]
    try:
        value = getattr(import_module(module), name)
    except ImportError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("torch", "safetensors", "torchvision", "tonic"):
            from neuroport.errors import BackendError

            raise BackendError(
                f"neuroport.{name} needs {missing}, which is not installed; "
                "pip install '.[train]' in neuroport's folder"
            ) from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
