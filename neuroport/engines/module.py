"""The engine ``module``: the trained torch module itself, its own forward pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neuroport.engines.engine import Engine, Options, option

if TYPE_CHECKING:
    from neuroport.engines.engine import Run


@dataclass(frozen=True)
class ModuleOptions(Options):
    """Options of the engine ``module``."""

    batch: int = option(50, "Samples side by side; changes memory, never results.", low=1)


class Module(Engine):
    """A torch module that has integers, as its front end runs it."""

    name = "module"
    summary = "a torch module's own forward pass"
    Options: ClassVar[type[ModuleOptions]] = ModuleOptions
    takes_modules = True

    def plan(self, graph: Any, options: ModuleOptions) -> Run:
        """Ready at once; what it records is known by the first frames.

        Args:
            graph: the torch module.
        """
        from neuroport.capture.frontend import front_end_of

        run, given = front_end_of(graph).run, asdict(options)
        return lambda frames, progress: run(graph, frames, progress=progress, **given)
