"""The child in which Lava runs, with Lava's own ``Conv`` for convolutions, but for those that lag.

What one builds who takes Lava's processes as they are named. :mod:`benchmarks.speed.lava` starts it
in place of the worker of ``lava-cpu``, whose graph it is otherwise. ``Conv`` takes (W, H, C), flips
its kernel, and ignores its exponent, so the weights are shifted. Everything else stays flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lava.proc.conv.process import Conv as ConvProcess

from neuroport.backends.lava_cpu import build
from neuroport.backends.lava_cpu.worker import main
from neuroport.graph.node import Conv, Node, Shape

_synapse, _connect = build._synapse, build._connect


@dataclass(frozen=True)
class Straight:
    """A ``Conv`` among flat processes: messages are reshaped on their way in and out."""

    process: Any
    source: Shape

    @property
    def a_out(self) -> Any:
        return self.process.a_out.transpose((2, 1, 0)).flatten()

    def receive(self, outlet: Any) -> None:
        """Connect what sends flat, in channel-major order."""
        outlet.reshape(self.source).transpose((2, 1, 0)).connect(self.process.s_in)


def synapse(node: Any, source: Shape, target: Shape, start: dict[str, int]) -> Any:
    if not isinstance(node, Conv) or node.lag:
        return _synapse(node, source, target, start)
    process = ConvProcess(
        weight=(node.weight << node.exponent)[:, :, ::-1, ::-1].transpose(0, 3, 2, 1),
        input_shape=source[::-1],
        padding=node.padding[::-1],
        stride=node.stride[::-1],
        dilation=node.dilation[::-1],
        groups=node.groups,
        num_message_bits=build.MESSAGE_BITS,
    )
    return Straight(process, source)


def connect(node: Node, processes: dict[str, Any]) -> None:
    process = processes[node.name]
    if not isinstance(process, Straight):
        return _connect(node, processes)
    for name in node.inputs:
        process.receive(processes[name].s_out)


if __name__ == "__main__":
    build._synapse, build._connect = synapse, connect
    main()
