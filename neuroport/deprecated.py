"""Names and modules that have moved: importable as before for a release, with a warning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]


def moved(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for ``module``: names that it had -> ``module:attribute`` of today."""

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, attribute = homes[name].partition(":")
        warnings.warn(
            f"{module}.{name} is {home}.{attribute} now; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(home), attribute)

    return find


def renamed(old: str, new: str) -> None:
    """Warn the caller of an attribute's old name."""
    warnings.warn(
        f"{old} is {new} now; the old name goes with the next release",
        DeprecationWarning,
        stacklevel=3,
    )


# module of before -> module of today, below neuroport
MODULES = {
    "apart": "sandbox",
    "moved": "deprecated",
    "analysis.told": "analysis.recorded_outputs",
    "analysis.neighbourhood": "analysis.neuron_history",
    "analysis.hypotheses": "analysis.fault_models",
    "analysis.rerun": "analysis.fault_simulation",
    "analysis.difference": "analysis.graph_difference",
    "analysis.crop": "analysis.differing_case",
    "analysis.isolate": "analysis.extraction",
    "analysis.minimized": "analysis.minimization_result",
    "analysis.ddmin": "analysis.delta_debugging",
    "analysis.fanin": "analysis.operations_per_core",
    "analysis.work": "analysis.operations",
    "analysis.corework": "analysis.core_work",
    "analysis.loads": "analysis.chip_loads",
    "analysis.stock_road": "analysis.netx_audit",
    "analysis.checking": "analysis.file_check",
    "analysis.qualifying": "analysis.qualification",
    "analysis.estimates": "analysis.cost_models",
    "backends.walk": "backends.executor",
    "backends.whole": "backends.compiled_network",
    "backends.lava_cpu.fusing": "backends.lava_cpu.fused_build",
    "backends.lava_cpu.groups": "backends.lava_cpu.fused_partition",
    "backends.lava_cpu.held": "backends.lava_cpu.fused_state",
    "backends.lava_cpu.products": "backends.lava_cpu.weight_products",
    "backends.lava_cpu.rounding": "backends.lava_cpu.stock_relays",
    "backends.lava_cpu.recorded": "backends.lava_cpu.run_config",
    "backends.lava_cpu.watch": "backends.lava_cpu.failure_monitor",
    "backends.lava_cpu.supervising": "backends.lava_cpu.supervisor",
    "backends.lava_cpu.installing": "backends.lava_cpu.installation",
    "backends.loihi2.constant": "backends.loihi2.bias_input",
    "backends.loihi2.constructs": "backends.loihi2.legality",
    "backends.loihi2.hosted": "backends.loihi2.host_stem",
    "backends.loihi2.layout": "backends.loihi2.axis_order",
    "backends.loihi2.measuring": "backends.loihi2.measured",
    "backends.loihi2.profile": "backends.loihi2.loggers",
    "backends.loihi2.missing": "backends.loihi2.availability",
    "backends.loihi2.reaching": "backends.loihi2.host_connection",
    "backends.loihi2.running": "backends.loihi2.run_config",
    "capture.places": "capture.source_lines",
    "capture.counts": "capture.model_size",
    "data.cache": "data.simulated_cache",
    "data.known": "data.catalog",
    "data.places": "data.dataset_folder",
    "data.tonics": "data.tonic_readers",
    "graph.exact": "graph.float_exactness",
    "graph.blocks": "graph.chunks",
    "graph.borders": "graph.border_taps",
    "graph.connectivity": "graph.fan_out",
    "graph.foreign": "graph.foreign_kinds",
    "graph.linear": "graph.linear_bounds",
    "kernels.normed": "kernels.batchnorm_kernels",
    "kernels.fused": "kernels.lif_kernels",
    "kernels.sums": "kernels.exact_sums",
    "kernels.memory": "kernels.allocator",
    "kernels.network": "kernels.network_kernel",
    "kernels.compiled": "kernels.compilation",
    "lowering.skew": "lowering.latency",
    "lowering.once": "lowering.unique_inputs",
    "lowering.partial": "lowering.partial_sums",
    "lowering.sharing": "lowering.shared_sums",
    "nets.held": "nets.torch_parts",
    "nets.joined": "nets.fused_batchnorm",
    "nets.norm": "nets.batchnorm",
    "nets.normed": "nets.batchnorm_lif",
    "nets.norming": "nets.fused_batchnorm",
    "nets.recompute": "nets.activation_recompute",
    "netx.entry": "netx.field_reader",
    "quantization.checking": "quantization.input_checks",
    "quantization.levels": "quantization.weight_levels",
    "reporting.loads": "reporting.load_bars",
    "reporting.cores": "reporting.core_map",
    "reporting.wording": "reporting.labels",
    "runs.classes": "runs.accuracy",
    "targets.words": "targets.core_memory",
    "targets.reach": "targets.receptive_field",
    "targets.polish": "targets.refinement",
    "targets.changes": "targets.remedies",
    "targets.published": "targets.published_tables",
    "targets.weighing": "targets.tie_breaks",
    "targets.qualified": "targets.board_record",
    "targets.counters": "targets.spike_counters",
    "targets.checking": "targets.verdict",
    "training.board": "training.tensorboard",
    "training.augmenting": "training.augmentation",
    "training.optimizing": "training.optimizer",
    "lowering.rules": "targets.rules",
    "capture.signals": "capture.currents",
    "capture.tracing": "capture.signal_tensors",
    "capture.wiring": "capture.connectivity",
    "capture.native": "capture.native_network",
    "capture.slayer.assembly": "capture.slayer.graph_builder",
    "capture.slayer.reading": "capture.slayer.network",
    "graph.edit": "graph.node_builders",
    "graph.packing": "graph.array_storage",
    "netx.repair": "netx.unread_fields",
    "netx.timing": "netx.layer_starts",
    "netx.layers": "netx.chain_writer",
    "frontends.nir.content": "frontends.nir.file_content",
    "frontends.nir.parts": "frontends.nir.quantized_parts",
    "frontends.nir.stored": "frontends.nir.stored_integers",
    "frontends.torch.building": "frontends.torch.network_builder",
    "frontends.torch.checking": "frontends.torch.numeric_check",
    "frontends.torch.following": "frontends.torch.forward_pass",
    "frontends.torch.importing": "frontends.torch.torch_import",
    "frontends.torch.tracing": "frontends.torch.tracer",
    "targets.layers": "targets.population_demands",
    "targets.tiles": "targets.core_tiles",
    "targets.traffic": "targets.message_traffic",
    "targets.constructs": "targets.qualification_networks",
    "backends.stepping": "backends.stepped_populations",
    "lowering.chain": "lowering.layer_chain",
    "lowering.interval": "lowering.reset_interval",
    "nets.fused_calls": "nets.fused_batchnorm",
}


def _today(module: str) -> str | None:
    """The name of today of a module of before, or of one inside a package of before."""
    package, _, name = module.partition(".")
    inside = ""
    while package == PACKAGE and name:
        if name in MODULES:
            return f"{PACKAGE}.{MODULES[name]}{inside}"
        name, _, last = name.rpartition(".")
        inside = f".{last}{inside}"
    return None


class _OldModules(MetaPathFinder, Loader):
    """Gives the module of today for the name of before."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if _today(fullname) else None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        new = _today(old)
        assert new is not None  # find_spec asked
        warnings.warn(
            f"{old} is {new} now; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[old] = import_module(new)


def install() -> None:
    """Let modules of before be imported; does nothing the second time."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OldModules())
