"""Blocks of residual spiking networks, with shortcuts in the membrane and in the spike domain."""

from __future__ import annotations

from neuroport.graph.integers import MESSAGE_MAX
from tests.properties.builder import Builder, Names
from tests.properties.choices import Choices


class Blocks(Builder):
    """Between two blocks there is a stream: currents for a dendrite, or messages for a synapse."""

    def __init__(self, choose: Choices, stock: bool | None = None) -> None:
        super().__init__(choose, stock)
        self.messages: Names = self.input()
        self.currents: Names = ()
        self.earlier_currents: list[Names] = []
        self.earlier_messages: list[Names] = []

    def grow(self, most: int) -> None:
        """One to ``most`` blocks and a readout."""
        self.tags["made for NetX"] += self.stock
        blocks = (
            self.plain,
            self.membrane,
            self.membrane,
            self.spike,
            self.spike,
            self.additive_membrane,
            self.additive_spike,
            self.spike_projection,
            self.spike_projection,
            *((self.spike_projection,) if self.stock else (self.real_projection,)),
            *((self.spike_projection,) if self.stock else (self.real_projection,)),
        )
        if self.stock:
            self.plain()
            self.as_messages()
        for _ in range(self.choose.integer(1, most)):
            self.choose.pick(blocks)()
            if self.choose.chance(5):
                self.dead_end()
        if self.currents and self.choose.chance(15):  # the membrane stream itself
            self.tags["readout of a stream"] += 1
            self.head(self.currents)
        else:
            self.head((self.dense(self.as_messages(), self.choose.integer(2, 5)),))

    def grow_chain(self, most: int) -> None:
        """One to ``most`` synapses, each with its neurons, and a readout: nothing else."""
        for _ in range(self.choose.integer(1, most)):
            self.plain()
            self.as_messages()
        self.head((self.dense(self.messages, self.choose.integer(2, 5)),))

    def as_messages(self) -> Names:
        """The stream as messages: a population turns currents into spikes."""
        if self.currents:
            self.messages, self.currents = self.unit(self.currents), ()
            self.remember(self.earlier_messages, self.messages)
        return self.messages

    def as_currents(self) -> Names:
        """The stream as currents: a synapse delivers messages."""
        if not self.currents:
            self.carry_on((self.synapse(self.messages, self.width()),))
        return self.currents

    def carry_on(self, currents: Names) -> None:
        if self.choose.chance(4):  # x + x
            self.tags["twice the same current"] += 1
            currents = (*currents, currents[-1])
        self.currents = self.fit(currents)
        self.remember(self.earlier_currents, self.currents)

    def remember(self, kept: list[Names], names: Names) -> None:
        kept.append(names)

    def width(self) -> int:
        """Channels of a next stage: small, and kept if nothing speaks for a change."""
        shape = self.shape[(self.currents or self.messages)[0]]
        return (
            shape[0]
            if 1 < shape[0] <= 8 and self.choose.chance(50)
            else self.choose.pick((4, 2, 6, 8))
        )

    # -- blocks ----------------------------------------------------------------------------

    def plain(self) -> None:
        """Any synapse and a population, without a shortcut."""
        messages = self.as_messages()
        if len(self.shape[messages[0]]) == 1 or self.choose.chance(15):
            current = self.dense(messages, self.choose.integer(4, 12))
        else:
            current = self.any_conv(messages)
        self.carry_on((current,))
        if self.choose.chance(50):
            self.as_messages()

    def branch(self, messages: Names, span: int) -> str:
        """``span`` synapses of equal shapes with populations between them; its last current."""
        current = self.synapse(messages)
        for _ in range(span - 1):
            current = self.synapse(self.unit((current,)))
        return current

    def membrane(self) -> None:
        """The shortcut is a second current into the dendrite after the branch."""
        stream = self.as_currents()
        branch = self.branch(self.unit(stream), self.choose.integer(1, 3))
        self.tags["membrane shortcut"] += 1
        self.carry_on((*stream, branch))

    def spike(self) -> None:
        """The shortcut is a second message into the synapse after the branch."""
        stream = self.as_messages()
        branch = self.unit((self.branch(stream, self.choose.integer(1, 3)),))
        self.tags["spike shortcut"] += 1
        if self.choose.chance(4):
            self.tags["twice the same message"] += 1
            stream = (*stream, stream[0])
        self.messages = (*stream[-3:], *branch)
        self.remember(self.earlier_messages, self.messages)

    def additive_membrane(self) -> None:
        """Every earlier current of this shape enters the next dendrite."""
        stream = self.as_currents()
        branch = self.branch(self.unit(stream), 1)
        shape = self.shape[branch]
        names = [n for names in self.earlier_currents for n in names if self.shape[n] == shape]
        earlier = tuple(dict.fromkeys(names))
        self.tags["additive currents"] += len(earlier) > 1
        self.carry_on((*earlier, branch))

    def additive_spike(self) -> None:
        """Every earlier message of this shape enters the next synapse."""
        stream = self.as_messages()
        branch = self.unit((self.branch(stream, 1),))
        shape = self.shape[branch[0]]
        names = [n for names in self.earlier_messages for n in names if self.shape[n] == shape]
        earlier = tuple(dict.fromkeys(names))[-6:]
        self.tags["additive messages"] += len(earlier) > 1
        self.messages = (*(n for n in earlier if n not in branch), *branch)
        self.remember(self.earlier_messages, self.messages)

    def smaller(self) -> tuple[tuple[int, int], int]:
        """Stride and channels of a stage."""
        shape = self.shape[(self.currents or self.messages)[0]]
        room = len(shape) == 3 and min(shape[1:]) >= 4
        return (self.choose.pick(((2, 2), (2, 1), (1, 2))) if room else (1, 1)), self.width()

    def spike_projection(self) -> None:
        """A strided branch; the shortcut is a strided 1x1 synapse of the same spikes."""
        messages = self.as_messages()
        stride, channels = self.smaller()
        if self.stock:  # a layer of NetX holds feature maps of one size: all shrink at once
            inner = self.unit((self.synapse(messages),))
            branch = self.synapse(inner, channels, stride)
        else:
            first = self.synapse(messages, channels, stride)
            branch = self.branch(self.unit((first,)), self.choose.integer(1, 2))
        shortcut = self.synapse(messages, channels, stride, pointwise=True)
        self.tags["spike projection"] += 1
        self.carry_on((shortcut, branch))

    def real_projection(self) -> None:
        """A strided branch; the stream itself, rounded, passes a strided 1x1 synapse."""
        stream = self.as_currents()
        stride, channels = self.smaller()
        first = self.synapse(self.unit(stream), channels, stride)
        branch = self.branch(self.unit((first,)), 1) if self.choose.chance(60) else first
        again = self.choose.chance(40)  # rounded once more, onto the LSB of the next stream
        shortcut = self.synapse(
            (self.relay(stream),),
            channels,
            stride,
            pointwise=True,
            wide=MESSAGE_MAX if again else None,
        )
        if again:
            shortcut = self.synapse((self.relay((shortcut,)),), pointwise=True)
        self.tags["real projection"] += 1
        self.carry_on((shortcut, branch))
