"""Front ends, which read a network into a graph of integers, and the table of them.

Each decides by a network's classes, without importing a library, whether it can read the network.
``port.quantize``, ``port.run`` of a module and ``port.from_nir`` ask the table. Another package
adds a front end by an entry point (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from neuroport.errors import CaptureError
from neuroport.registry import Registry

if TYPE_CHECKING:
    import numpy.typing as npt

    from neuroport.graph.graph import Graph
    from neuroport.runs.trace import Trace


class FrontEnd:
    """Reads the networks of one library.

    Attributes:
        name: name of the front end.
        summary: description of one line.
    """

    name: str
    summary: str

    def takes(self, network: Any) -> bool:
        """Return whether it can read ``network``; quick, and without importing its library."""
        raise NotImplementedError

    def quantize(self, network: Any, frames: Any, **options: Any) -> Graph:
        """Quantize ``network`` to a graph of integers.

        Args:
            frames: (T, N, *shape).
            options: further arguments of ``port.quantize``.

        Raises:
            NeuroportError: a part has no integer form; the error uses the user's own names, and
                says what to change.
        """
        raise NotImplementedError

    def graph(self, network: Any, frames: npt.NDArray[Any]) -> Graph:
        """Return the graph of a ``network`` that already has integers.

        Raises:
            CaptureError: it is still real-valued.
        """
        raise CaptureError(
            f"the network is still real-valued ({self.name}); run the graph that "
            "port.quantize(net, frames) makes of it"
        )

    def run(self, network: Any, frames: npt.NDArray[Any], **options: Any) -> Trace:
        """Run the forward pass of a network that has integers, and record every population.

        Raises:
            CaptureError: it is still real-valued.
        """
        raise AssertionError(self.graph(network, frames))


FRONT_ENDS = Registry(
    ("front end", "front ends"),
    "neuroport.frontends",
    {
        "slayer": "neuroport.frontends.modules:Slayer",
        "snntorch": "neuroport.frontends.modules:SnnTorch",
        "spikingjelly": "neuroport.frontends.modules:SpikingJelly",
        "trainable": "neuroport.frontends.modules:TrainableGraph",
        "nir": "neuroport.frontends.nir.frontend:Nir",
        "neuroport": "neuroport.frontends.modules:Native",
    },
    CaptureError,
)
NATIVE = "neuroport"  # the front end for torch modules that no other one reads


def front_end(name: str) -> FrontEnd:
    """Return a front end by name.

    Raises:
        CaptureError: there is no such front end.
    """
    kind = FRONT_ENDS[name]
    if not (isinstance(kind, type) and issubclass(kind, FrontEnd)):
        raise CaptureError(
            f"front end {name!r} is {kind!r:.100}; a package adds a class derived from "
            "neuroport.frontends.FrontEnd"
        )
    return kind()


def front_end_of(network: Any) -> FrontEnd:
    """Return the first front end that can read a network; neuroport's own is the last.

    Raises:
        CaptureError: a front end of another package cannot be imported.
    """
    for name in _others():
        found = front_end(name)
        if found.takes(network):
            return found
    return front_end(NATIVE)


def _others() -> Iterator[str]:
    yield from (name for name in FRONT_ENDS if name != NATIVE)
