"""Check the arguments of the public functions: a wrong kind is refused before any work.

A notebook passes a module where a graph is meant, a path where its content is, frames as a list.
:func:`takes` declares the kind of each argument. The error names the value that was given instead,
and the call that converts it.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from numbers import Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from neuroport.errors import (
    BackendError,
    CaptureError,
    CompareError,
    FramesError,
    GraphError,
    NeuroportError,
    RecipeError,
)
from neuroport.files import place

P = ParamSpec("P")
T = TypeVar("T")
Check = Callable[[Any, str], Any]  # (value, name of the argument) -> the value to use

# (wanted, given) -> what to write instead
ADVICE = {
    ("graph", "module"): "port.quantize(net, frames) makes a graph of it",
    ("graph", "path"): "port.read(path) reads the graph in a file",
    ("graph", "trace"): "give the graph that was run",
    ("module", "graph"): "it has integers already: give it to port.lower or port.run",
    ("module", "path"): "port.load(folder) gives the trained network of a training folder; a file "
    "of another is read by torch",
    ("module", "state"): "make the network first, and net.load_state_dict(state) puts it in",
    ("module", "trace"): "give the network that was run",
    ("trace", "graph"): "port.run(graph, frames) gives its trace",
    ("trace", "module"): "port.run(net, frames) gives the trace of a quantized network",
    ("trace", "path"): "port.Trace.load(path) reads a trace; port.run(path, frames) runs a network",
    ("network", "trace"): "give the network that was run",
    ("network", "state"): "make the network first, and net.load_state_dict(state) puts it in",
    ("frames", "path"): "np.load(path) reads frames",
    ("frames", "graph"): "frames come after the network",
    ("frames", "module"): "frames come after the network",
    ("recipe", "path"): "port.load_recipe(path) reads one",
}
TYPES = {
    "graph": ("neuroport.graph.graph", "Graph"),
    "trace": ("neuroport.runs.trace", "Trace"),
    "recipe": ("neuroport.recipe", "Recipe"),
    "module": ("torch.nn", "Module"),
}
WORDS = {
    "graph": "a neuroport Graph",
    "module": "a torch module",
    "trace": "a Trace",
    "network": "a Graph, the path of a network file, or a quantized torch module",
    "frames": "an array (T, N, C, H, W)",
    "recipe": "a Recipe",
}
ERRORS: dict[str, type[NeuroportError]] = {
    "graph": GraphError,
    "module": CaptureError,
    "trace": CompareError,
    "network": CaptureError,
    "frames": FramesError,
    "recipe": RecipeError,
}


def takes(**checks: Check) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Check arguments by name before the function is called, which gets what the checks return.

    An argument whose default is None may be None.

    Raises:
        NeuroportError: from the function that results: says what the argument is and should be.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            bound = signature.bind(*args, **kwargs)
            for name, check in checks.items():
                if name not in bound.arguments:
                    continue
                value = bound.arguments[name]
                if value is not None or signature.parameters[name].default is not None:
                    bound.arguments[name] = check(value, name)
            return function(*bound.args, **bound.kwargs)

        return checked

    return decorate


def optional(check: Check) -> Check:
    """The same check, but None may be given."""
    return lambda value, name: None if value is None else check(value, name)


def is_graph(value: Any, name: str) -> Any:
    """A graph of integers."""
    return value if _kind(value) == "graph" else _refuse("graph", value, name)


def is_module(value: Any, name: str) -> Any:
    """A torch module."""
    return value if _kind(value) == "module" else _refuse("module", value, name)


def is_trace(value: Any, name: str) -> Any:
    """Check that the value is a trace."""
    return value if _kind(value) == "trace" else _refuse("trace", value, name)


def is_network(value: Any, name: str) -> Any:
    """A graph, a file, or a module that is in its integer phase."""
    if _kind(value) not in ("graph", "path", "module"):
        _refuse("network", value, name)
    return value


def is_recipe(value: Any, name: str) -> Any:
    """Check that the value is a training recipe."""
    return value if _kind(value) == "recipe" else _refuse("recipe", value, name)


def is_path(value: Any, name: str) -> Any:
    """A path; raises a StorageError."""
    place(value)
    return value


def is_engine(value: Any, name: str) -> Any:
    """The name of an engine, or None for the default one; raises a BackendError."""
    if value is not None and (not isinstance(value, str) or not value):
        said = "''" if isinstance(value, str) else _described(value)
        raise BackendError(
            f"{name} is {said}, not the name of an engine; give one, such as 'reference', or leave "
            "it out"
        )
    return value


def is_engines(value: Any, name: str) -> Any:
    """The names of two engines; raises a BackendError."""
    two = isinstance(value, (tuple, list)) and len(value) == 2
    if not two or any(each is None for each in value):
        said = repr(value)[:100] if isinstance(value, (str, tuple, list)) else _described(value)
        raise BackendError(f"{name} is {said}; give two engines, such as ('reference', 'fast')")
    return tuple(is_engine(each, f"{name}[{at}]") for at, each in enumerate(value))


def is_runner(value: Any, name: str) -> Any:
    """A graph, the name of an engine, or a function that runs a graph; raises a BackendError."""
    if _kind(value) == "graph" or (callable(value) and _kind(value) != "module"):
        return value
    if value is None or _kind(value) == "module":
        raise BackendError(
            f"{name} is {_described(value)}; give a Graph, the name of an engine, or a function "
            "(graph, frames) that returns a Trace"
        )
    return is_engine(value, name)


def is_function(value: Any, name: str) -> Any:
    """A function; raises a BackendError."""
    if not callable(value):
        raise BackendError(f"{name} is {_described(value)}; give a function, or leave it out")
    return value


def whole_number(least: int, error: type[NeuroportError]) -> Check:
    """Check for a whole number from ``least`` on; raises ``error``."""

    def check(value: Any, name: str) -> Any:
        with contextlib.suppress(TypeError):
            if not isinstance(value, (bool, np.bool_)) and operator.index(value) >= least:
                return operator.index(value)
        raise error(f"{name} is {_short(value)}; give a whole number from {least} on")

    return check


def one_of(known: Iterable[Any], error: type[NeuroportError]) -> Check:
    """Check for one of some values; raises ``error``."""

    def check(value: Any, name: str) -> Any:
        for each in known:
            if type(value) is type(each) and value == each:
                return value
        raise error(f"{name} is {_short(value)}; use {', '.join(map(str, known))}")

    return check


def between(low: float, high: float, error: type[NeuroportError]) -> Check:
    """Check for a number from ``low`` to ``high``; raises ``error``."""

    def check(value: Any, name: str) -> Any:
        if isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high:
            return value
        raise error(f"{name} is {_short(value)}; give a number from {low:g} to {high:g}")

    return check


def positive(error: type[NeuroportError]) -> Check:
    """Check for a finite number above 0; raises ``error``."""

    def check(value: Any, name: str) -> Any:
        with contextlib.suppress(OverflowError):
            number = isinstance(value, Real) and not isinstance(value, bool)
            if number and 0 < float(value) < math.inf:
                return value
        raise error(f"{name} is {_short(value)}; give a number above 0")

    return check


def instance(wanted: type, error: type[NeuroportError]) -> Check:
    """Check for an object of a class, or None; raises ``error``."""
    article = "an" if wanted.__name__[0] in "AEIOU" else "a"

    def check(value: Any, name: str) -> Any:
        if value is None or isinstance(value, wanted):
            return value
        raise error(
            f"{name} is {_described(value)}; give {article} {wanted.__name__}, or leave it out"
        )

    return check


def keyed(error: type[NeuroportError]) -> Check:
    """Check for a dictionary with texts as keys, or None; raises ``error``."""

    def check(value: Any, name: str) -> Any:
        named = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        if value is None or named:
            return value
        raise error(f"{name} is {_described(value)}; give a dictionary by name, or leave it out")

    return check


def flag(error: type[NeuroportError]) -> Check:
    """Check for True or False; raises ``error``. A text such as "no" would count as True."""

    def check(value: Any, name: str) -> bool:
        if not isinstance(value, (bool, np.bool_)):
            raise error(f"{name} is {_short(value)}; give True or False")
        return bool(value)

    return check


is_flag = flag(FramesError)


def as_results(value: Any, name: str) -> list[Any]:
    """Several results, as a list; raises a CompareError."""
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        with contextlib.suppress(TypeError):  # an array of no axis
            return list(value)
    raise CompareError(
        f"{name} is {_described(value)}, not a list of results; give [first, second]"
    )


def as_array(value: Any, name: str) -> npt.NDArray[Any]:
    """Frames as a NumPy array that holds at least one of each axis; tensors come from any device.

    Raises:
        FramesError: they are no numbers, of unequal lengths, or there are none.
    """
    return _array(value, name, WORDS["frames"])


def as_labels(value: Any, name: str) -> npt.NDArray[Any]:
    """Classes as a NumPy array of integers (N,); raises as :func:`as_array`."""
    data = _array(value, name, "classes (N,)")
    if data.ndim != 1 or data.dtype.kind not in "iu":
        cure = f", such as {name}.argmax(1)" if data.ndim == 2 else ""
        raise FramesError(
            f"{name} are {data.dtype} {data.shape}; give integers (N,), the class of each sample"
            f"{cure}"
        )
    return data


def _array(value: Any, name: str, wanted: str) -> npt.NDArray[Any]:
    if value is None or _kind(value) in ("graph", "module", "trace", "path", "state"):
        if wanted == WORDS["frames"]:
            _refuse("frames", value, name)
        raise FramesError(f"{name} is {_described(value)}; give {wanted}, numbers in an array")
    if isinstance(value, np.ma.MaskedArray):
        raise FramesError(
            f"{name}: a masked array, whose mask no engine knows; give its numbers, value.filled(0)"
        )
    try:
        data = np.asarray(_detached(value))
    except Exception as error:  # whatever it is, it does not give its numbers
        raise FramesError(
            f"{name}: {_described(value)} is not {wanted} ({_said(error)}); "
            "give numbers in lists of equal lengths, an array or a tensor"
        ) from error
    if data.dtype.kind not in "biufc":
        raise FramesError(
            f"{name}: {_described(value)} holds {data.dtype}, not numbers; give {wanted}"
        )
    if data.ndim == 0 or 0 in data.shape:
        what = "one number" if data.ndim == 0 else "hold no sample"
        raise FramesError(f"{name} are {data.shape}, {what}; give at least one: {wanted}")
    return data


def _detached(value: Any) -> Any:
    """A tensor without its history, on the CPU, in a type that NumPy has; others as they are."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return value
    found = value.detach().cpu()
    return found.float() if found.dtype is torch.bfloat16 else found


def _kind(value: Any) -> str:
    """Return the kind of an argument, as far as advice depends on it; empty for any other."""
    for kind, (module, name) in TYPES.items():
        # a class that was not imported has no instances
        found = getattr(sys.modules.get(module), name, None)
        if found is not None and isinstance(value, found):
            return kind
    if isinstance(value, (str, os.PathLike)):
        return "path"
    keyed = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    return "state" if keyed and value else ""


def _described(value: Any) -> str:
    kind, name = _kind(value), type(value).__name__
    if kind == "path":
        return f"the path {os.fspath(value)!r:.200}"
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return {
        "graph": "a Graph",
        "trace": "a Trace",
        "recipe": "a Recipe",
        "module": f"the torch module {name}",
        "state": "a dictionary, perhaps a state_dict",
    }.get(kind) or ("None" if value is None else f"{article} {name}")


def _short(value: Any) -> str:
    """A number or a text as it is written, anything else by its class."""
    plain = isinstance(value, (str, bytes, Real))
    return f"{value!r:.100}" if plain else _described(value)


def _refuse(wanted: str, value: Any, name: str) -> Any:
    given = _kind(value)
    cure = ADVICE.get((wanted, given)) or f"give {WORDS[wanted]}"
    raise ERRORS[wanted](f"{name} is {_described(value)}, not {WORDS[wanted]}; {cure}")


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
