"""Lines of the user's code, for messages."""

from __future__ import annotations

import inspect
import linecache
import os
import sys
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import nn

from neuroport.errors import CaptureError, NeuroportError


@dataclass(frozen=True)
class SourceLine:
    """A line of the user's code."""

    file: str
    line: int
    direct: bool = True  # whether what happened is written there, or in what it calls

    def __str__(self) -> str:
        name = self.file
        if not name.startswith("<") and not os.path.relpath(name).startswith(os.pardir):
            name = os.path.relpath(name)
        return f"{name}:{self.line}"

    @property
    def quoted(self) -> str:
        """The line and what stands there."""
        text = linecache.getline(self.file, self.line).strip()
        text = "".join(c for c in text if c.isprintable())
        if len(text) > 70:
            text = text[:67] + "..."
        return f"`{text}` ({self})" if text else str(self)


_LIBRARIES = {
    "torch",
    "lava",
    "neuroport",
    "snntorch",
    "spikingjelly",
    *sys.stdlib_module_names,
} - {"__main__"}


def _is_users(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).split(".")[0] not in _LIBRARIES


def here() -> SourceLine:
    """The innermost line of the user's code that runs, of a family's where there is none."""
    frame: FrameType | None = sys._getframe(1)
    family: SourceLine | None = None
    direct = True
    while frame is not None and frame.f_code is not enter.__code__:
        name = str(frame.f_globals.get("__name__", ""))
        if _is_users(frame):
            return SourceLine(frame.f_code.co_filename, frame.f_lineno, direct)
        if name.startswith("neuroport.nets.") and family is None:
            family = SourceLine(frame.f_code.co_filename, frame.f_lineno, direct)
        # a layer of torch or of a library that the line calls
        direct = direct and name.startswith("neuroport.capture")
        frame = frame.f_back
    return family or SourceLine("forward", 0)


def _failed_at(error: BaseException) -> str:
    """The innermost line of the user's code on the way to an error."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if _is_users(trace.tb_frame):
            found = SourceLine(trace.tb_frame.f_code.co_filename, trace.tb_lineno).quoted
        trace = trace.tb_next
    return found


def function_place(function: Any) -> str:
    """A function of the user's and where it begins."""
    plain = inspect.unwrap(getattr(function, "func", function))
    code = getattr(getattr(plain, "__func__", plain), "__code__", None)
    name = getattr(plain, "__name__", type(plain).__name__)
    return name if code is None else f"{name}, {SourceLine(code.co_filename, code.co_firstlineno)}"


def defined(net: nn.Module) -> str:
    """Return the place in the source at which a network's ``forward`` begins."""
    return f" ({function_place(type(net).forward)})"


BLOCKS = "it may call blocks, and add and concatenate what they send"


def enter(net: nn.Module, x: Any, allowed: str = BLOCKS) -> Any:
    """Call the user's network; ``allowed`` says, in error messages, what its code may do."""
    try:
        return net(x)
    except NeuroportError:
        raise
    except Exception as error:  # forward is the user's code: it may fail in any way
        at = _failed_at(error)
        raise CaptureError(
            f"{type(net).__name__}.forward fails when it is followed, {at or 'before any line'} "
            f"({type(error).__name__}: {error}); {allowed}"
        ) from error
