"""Random forward passes, written as text: layers, ways to join what they send, and pranks.

A *prank* is a line that a graph may not be able to hold: a write in place, a number taken from a
tensor, an operation that is none of a graph's, a hook. Whether it matters depends on what it hits.
"""

from __future__ import annotations

import linecache
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

STEPS, SAMPLES, SIZE = 4, 3, (6, 5)


class Network(nn.Module):
    """A module whose forward pass is one that was drawn."""

    way: Callable[[Any, Tensor], Any]
    source = ""
    file = ""
    handles: tuple[Any, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0


@dataclass
class Drawn:
    """A network, what it takes, and what was drawn for it."""

    net: nn.Module
    x: Any
    file: str
    text: str
    pranks: list[str]
    ways: set[str]
    remove: Callable[[], None] = lambda: None


# what becomes of a variable that a later line reads; {c} its channels' index, {v} the variable
WRITES = {
    "masked write": "{v}[{v} > 1] = 1",
    "masked write of zeros": "{v}[{v} > 0] = 0",
    "channel added to another": "{v}[{c}0] += {v}[{c}1]",
    "part muted": "{v}[..., :2] = 0",
    "channel muted": "{v}[{c}0] = 0",
    "multiplied in place": "{v}.mul_(2)",
    "multiplied by *=": "{v} *= 3",
    "clamped in place": "{v}.clamp_(0, 1)",
    "clamped to what it is": "{v}.clamp_(-1e9, 1e9)",
    "relu in place": "F.relu({v}, inplace=True)",
    "negated through a view": "({v}.view({v}.shape)).neg_()",
    "zeroed through a slice": "w = {v}[{c}:1]; w.zero_()",
    "zeroed through narrow": "{v}.narrow({a}, 0, 1).zero_()",
    "zeroed through detach": "{v}.detach()[{c}0] = 0",
    "zeroed through data": "{v}.data[{c}0] = 0",
    "filled through data": "{v}.data.fill_(1)",
    "data replaced": "{v}.data = {v}.data * 0",
    "out": "torch.mul({v}, 0, out={v})",
    "out of a sum": "torch.add({v}, {v}, out={v})",
    "masked_fill_": "{v}.masked_fill_({v} > 0, 0)",
    "copy_": "{v}.copy_(torch.ones_like({v}))",
    "flipped and copied": "{v}.copy_({v}.flip(0))",
    "index_fill_": "{v}.index_fill_({a}, torch.tensor([0]), 0.)",
    "random in place": "{v}.bernoulli_(0.5)",
    "through numpy": "{v}.numpy()[...] = 0",
    "through numpy of detach": "w = {v}.detach().cpu().numpy(); w *= 0",
    "through its storage": "{v}.untyped_storage().fill_(0)",
    "as_strided": "torch.as_strided({v}, (2,), (1,)).fill_(1)",
    "foreach": "torch._foreach_mul_([{v}], 0.)",
    "set_": "{v}.set_(torch.zeros_like({v}))",
    "transposed in place": "{v}.transpose_({a}, {a})",
    "a list of views": "[w.zero_() for w in {v}.unbind({a})[:1]]",
    "where": "{v} = torch.where({v} > 0, 0., {v})",
    "added a number": "{v} = {v} + 1",
    "doubled": "{v} = {v} * 2",
    "doubled by itself": "{v} = {v} + {v}",
    "scaled sum": "{v} = torch.add({v}, {v}, alpha=2)",
    "negated": "{v} = -{v}",
    "absolute": "{v} = {v}.abs()",
    "flipped": "{v} = {v}.flip({a})",
    "rolled": "{v} = torch.roll({v}, 1, {a})",
    "maximum": "{v} = torch.maximum({v}, {v}.roll(1, {a}))",
    "by its mean": "{v} = {v} * ({v}.mean() > 0.2)",
    "sorted": "{v} = {v}.sort({a})[0]",
    "cumulated": "{v} = {v}.cumsum(0)",
    "permuted channels": "{v} = {v}.index_select({a}, torch.arange({v}.shape[{a}]).flip(0))",
    "cast": "{v} = {v}.bool().float()",
    "to double and back": "{v} = {v}.double().float()",
    "to numpy and back": "{v} = torch.from_numpy({v}.detach().numpy() * 2)",
    "to a list and back": "{v} = torch.tensor({v}.tolist())",
    "a new tensor": "{v} = torch.zeros_like({v})",
    "dropped out": "{v} = F.dropout({v}, 0.5)",
    "dropped out in evaluation": "{v} = F.dropout({v}, 0.9, training=not self.training)",
    "concatenated elsewhere": "{v} = torch.cat([{v}[{c}1:], {v}[{c}:1]], {a})",
    "einsum": "{v} = torch.einsum('...,->...', {v}, torch.tensor(2.))",
    "scripted": "{v} = scripted({v})",
    "the last call's": "{v}, self.last = getattr(self, 'last', {v}), {v}",
}
# conditions that ask for values, before a line that changes what follows
ASKS = {
    "sum": "{v}.sum() > 20",
    "any": "{v}.any()",
    "item": "{v}.sum().item() > 20",
    "rate": "{v}.mean().item() * 100 > 15",
    "float": "float({v}.float().mean()) > 0.2",
    "int": "int({v}.max()) > 1",
    "list": "sum({v}.flatten().tolist()) > 20",
    "square root": "math.sqrt(abs({v}.sum().item())) > 5",
    "numpy of a number": "np.array([{v}.mean().item()])[0] > 0.2",
    "tensor of a number": "torch.FloatTensor([{v}.mean().item()])[0] > 0.2",
    "text of a number": "len(f'{{{v}.sum().item():.0f}}') > 2",
    "numpy": "{v}.detach().numpy().sum() > 20",
    "nonzero": "len({v}.nonzero()) > 20",
    "masked": "{v}[{v} > 0].numel() > 20",
    "unique": "len({v}.unique()) > 2",
    "argmax": "{v}.flatten().argmax() > 20",
    "equal": "torch.equal({v}, {v}.clamp(0, 1))",
    "allclose": "torch.allclose({v}, torch.zeros_like({v}))",
    "count_nonzero": "torch.count_nonzero({v}) > 20",
    "random": "random.random() < 0.5",
    "torch's random": "torch.rand(1) < 0.5",
    "numpy's random": "np.random.rand() < 0.5",
    "every other call": "self.calls % 2",
    "samples": "{v}.shape[{n}] == 1",
    "steps": "{v}.shape[{t}] > 2",
    "training": "self.training",
    "gradients": "torch.is_grad_enabled()",
    "kind": "type({v}) is torch.Tensor",
}
KEPT = {
    "identity": "{v} = self.same({v})",
    "dropout": "{v} = self.drop({v})",
    "F.dropout": "{v} = F.dropout({v}, 0.3, self.training)",
    "torch.dropout": "{v} = torch.dropout({v}, 0.3, self.training)",
    "clone": "{v} = {v}.clone()",
    "contiguous": "{v} = {v}.contiguous()",
    "detach": "{v} = {v}.detach()",
    "training only": "if self.training: {v} = {v} * 2",
    "counts": "self.rate = {v}.detach().float().mean() if {tensor} else 0.",
    "listed": "{v} = [None, {v}][-1]",
}
SUMS = {
    "+": "{r} = {l} + {m}",
    "torch.add": "{r} = torch.add({l}, {m})",
    "add": "{r} = {l}.add({m})",
    "sum": "{r} = sum([{l}, {m}])",
    "stack": "{r} = torch.stack([{l}, {m}]).sum(0)",
    "+=": "{r} = {l}; {r} += {m}",
    "add_": "{r} = {l}.clone(); {r}.add_({m})",
    "+= of a copy": "{r} = {l}.clone(); {r} += {m}",
}
SPOKEN = ("cat", "concat", "concatenate")


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return x * 2.0


@dataclass
class Program:
    """Lines as they are drawn; variables by kind with their channels."""

    rng: np.random.Generator
    axis: int
    last: bool
    lines: list[str] = field(default_factory=list)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    pranks: list[str] = field(default_factory=list)
    ways: set[str] = field(default_factory=set)
    count: int = 0

    def pick(self, values: Any) -> Any:
        values = list(values)
        return values[int(self.rng.integers(len(values)))]

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def module(self, kind: str, made: nn.Module) -> str:
        name = f"{kind}{len(self.modules)}"
        if self.rng.random() < 0.04 and "input" not in self.modules:
            name = "input"
            self.ways.add("a layer named input")
        self.modules[name] = made
        return f"self.{name}"

    def add(self, text: str, **names: Any) -> None:
        fills = {
            "c": ":, " * self.axis,
            "a": self.axis,
            "n": 0 if self.last else 1,
            "t": -1 if self.last else 0,
        }
        self.lines.append(text.format(**fills, **names))

    def reads(self, variable: str) -> bool:
        """Whether a line reads the variable."""
        return any(re.search(rf"\b{variable}\b(?! =)", line) for line in self.lines)

    def prank(self, variable: str, streams: bool) -> None:
        if self.rng.random() < 0.65:
            what = self.pick(WRITES)
            self.add(WRITES[what], v=variable)
        else:
            what = self.pick(ASKS)
            changed = self.pick(["{v} = {v} + {v}", "{v} = {v} * 0", "{v} *= 2"])
            self.add(f"if {ASKS[what]}: {changed}", v=variable)
        self.pranks.append(what)

    def keep(self, variable: str, streams: bool) -> None:
        what = self.pick(KEPT)
        self.ways.add(what)
        self.add(KEPT[what], v=variable, tensor=f"isinstance({variable}, torch.Tensor)")

    def sum(self, left: str, right: str) -> str:
        what = self.pick(SUMS)
        self.ways.add(f"sum: {what}")
        name = self.name()
        self.add(SUMS[what], r=name, l=left, m=right)
        return name

    def concatenate(self, variables: list[str]) -> str:
        name, axis = (
            self.name(),
            self.pick([self.axis, self.axis - 5 if not self.last else self.axis]),
        )
        self.ways.add("concatenation")
        self.add(f"{name} = torch.{self.pick(SPOKEN)}([{', '.join(variables)}], {axis})")
        return name

    def text(self) -> str:
        return "def forward(self, x):\n" + "".join(f"    {line}\n" for line in self.lines)


def finished(program: Program, seed: int, family: str) -> Network:
    """The module of a program."""
    file, text = f"{family}-{seed}.py", program.text()
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    space: dict[str, Any] = {"__name__": f"{family}_{seed}", "torch": torch, "F": F, "np": np}
    space |= {"math": math, "random": random, "checkpoint": checkpoint, "scripted": scripted}
    exec(compile(text, file, "exec"), space)
    net: Network = type("Drawn", (Network,), {"forward": space["forward"]})()
    net.file, net.source = file, text
    for name, module in program.modules.items():
        setattr(net, name, module)
    net.same, net.drop = nn.Identity(), nn.Dropout(0.4)
    return net


def doubled(_: Any, __: Any, output: Any) -> Any:
    """A hook that changes what a layer sends."""
    return output + output


def watched(_: Any, __: Any, ___: Any) -> None:
    """A hook that only listens."""


HOOKS = {
    "a hook that doubles": lambda m: m.register_forward_hook(doubled),
    "a hook that listens": lambda m: m.register_forward_hook(watched),
    "a hook before": lambda m: m.register_forward_pre_hook(lambda _, x: (x[0] + x[0],)),
    "a hook for all modules": lambda _: nn.modules.module.register_module_forward_hook(watched),
}


def wrapped(program: Program, net: Network, rng: np.random.Generator) -> Drawn:
    """With what people do to a module: hooks, wrappers, a mode."""
    drawn = Drawn(net, None, net.file, net.source, program.pranks, program.ways)
    lot = rng.random()
    if lot < 0.06:
        what = str(rng.choice(list(HOOKS)))
        module = list(net.modules())[int(rng.integers(len(list(net.modules()))))]
        drawn.remove = HOOKS[what](module).remove
        drawn.pranks.append(what)
    elif lot < 0.12:
        drawn.net = nn.DataParallel(net)
        drawn.ways.add("DataParallel")
    elif lot < 0.18:
        drawn.net = torch.compile(net, backend="eager")  # inductor starts children
        drawn.ways.add("compile")
    elif lot < 0.20:
        inner = str(rng.choice(list(program.modules)))
        setattr(net, inner, nn.DataParallel(getattr(net, inner)))
        drawn.pranks.append("DataParallel inside")
    elif lot < 0.22:
        own = getattr(net, str(rng.choice(list(program.modules))))
        own.forward = lambda x: type(own).forward(own, x + x)
        drawn.pranks.append("a forward replaced")
    net.train(bool(rng.random() < 0.4))
    return drawn
