"""The engine ``module``: the trained torch module itself, its own forward pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neuroport.engines.engine import Engine, Options, device_option, option
from neuroport.errors import BackendError

if TYPE_CHECKING:
    from neuroport.engines.engine import Run


@dataclass(frozen=True)
class ModuleOptions(Options):
    """Options of the engine ``module``."""

    batch: int = option(50, "Samples side by side; changes memory, never results.", low=1)
    device: str = device_option()


class Module(Engine):
    """A torch module in integers, run by its front end."""

    name = "module"
    summary = "a torch module's own forward pass"
    Options: ClassVar[type[ModuleOptions]] = ModuleOptions
    takes_modules = True

    def plan(self, graph: Any, options: ModuleOptions) -> Run:
        """Return the function that runs the module; nothing is planned.

        Args:
            graph: the torch module.

        Raises:
            BackendError: there is no such device.
        """
        from neuroport.capture.frontend import NATIVE, front_end_of
        from neuroport.kernels.devices import device_of

        front_end, given = front_end_of(graph), asdict(options)
        device, run = device_of(given.pop("device")), front_end.run
        if device.type != "cpu":
            if front_end.name != NATIVE:
                raise BackendError(
                    f"device {options.device!r}: a network of {front_end.name} runs on the CPU; "
                    "use device='cpu', or run its graph on 'fast'"
                )
            given["device"] = device
        return lambda frames, progress: run(graph, frames, progress=progress, **given)
