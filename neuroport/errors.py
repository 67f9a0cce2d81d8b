"""Every error a user can meet, in one tree.

::

    NeuroportError            what, where, how to mend it; the command line prints it as one line
    |-- RecipeError           a recipe that cannot be read or asks for something impossible
    |-- StorageError          a file that cannot be opened or written (missing, full disk, rights)
    |-- FormatError           a file that is not what its name promises
    |   `-- HashError         a sound file whose content was changed after it was written
    |-- FramesError           input frames of the wrong shape, type or range
    |-- GraphError            a graph that cannot exist (shapes, kinds of signal, names)
    |-- CaptureError          a module that has no graph
    |-- LayerError            a layer that cannot be made as asked
    |-- TrainingError         a checkpoint that does not fit, a loss that is not a number
    |-- BackendError          an engine that is unknown, missing, or failed while running
    |-- TargetError           a target that is unknown
    |-- CompareError          two runs that cannot be compared at all
    `-- IllegalError          a well-formed graph that breaks a rule of its target
        `-- RangeError        an integer that left its proven or permitted width while running

The command line ends with ``exit_code``: 2 for wrong usage, 1 for illegal networks.
"""

from __future__ import annotations

import re

MOST = 4000  # characters of a message; files can hold names of a megabyte
# A word of such length is no part of a path (255 bytes at most): its middle is left out.
_LONG = re.compile(r"([^\s/\\]{120})[^\s/\\]{136,}([^\s/\\]{40})")


def printable(text: str) -> str:
    """The text as a terminal may show it: lines and tabs stay, what it would obey is written out.

    Names and texts of files are anybody's. An escape character in them becomes the four characters
    ``\\x1b``, and so do characters that turn the direction of writing or are no character at all.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


class NeuroportError(Exception):
    """Base of all errors that are not bugs of neuroport.

    ``message`` is one line; ``detail`` holds what somebody else said, such as Lava's traceback.
    Both can be printed.
    """

    exit_code = 2

    def __init__(self, message: str, detail: str = "") -> None:
        said = printable(_LONG.sub(r"\1...\2", " ".join(message.split())))
        half = MOST // 2
        self.message = said if len(said) <= MOST else f"{said[:half]} ... {said[-half:]}"
        self.detail = printable(detail)
        super().__init__(self.message + (f"\n{detail}" if detail else ""))


class RecipeError(NeuroportError):
    """A recipe that cannot be read or asks for something impossible."""


class StorageError(NeuroportError):
    """A file that cannot be opened or written: missing, full disk, no permission."""


class FormatError(NeuroportError):
    """A file that is not what its name promises: truncated, foreign, newer or inconsistent."""


class HashError(FormatError):
    """A structurally sound file whose content does not match the hash stored in it."""


class FramesError(NeuroportError):
    """Input frames whose shape, type or range does not fit the network."""


class GraphError(NeuroportError):
    """A graph that cannot exist: unknown names, mismatched shapes, a wire of the wrong kind."""


class CaptureError(NeuroportError):
    """A module that cannot be turned into a graph."""


class LayerError(NeuroportError, ValueError):
    """A layer that cannot be made as asked: sizes that do not fit, values without a meaning."""


class TrainingError(NeuroportError):
    """A checkpoint that does not fit the recipe, or a loss that is not a number."""


class BackendError(NeuroportError):
    """An engine that is unknown, not installed, or failed while running."""


class TargetError(NeuroportError):
    """A target that is unknown."""


class CompareError(NeuroportError):
    """Two runs that have nothing in common to compare."""


class IllegalError(NeuroportError):
    """A well-formed graph that breaks a rule of its target."""

    exit_code = 1


class RangeError(IllegalError):
    """An integer that left its permitted width while an engine ran.

    Attributes:
        sample: of a declared width that was left (:mod:`neuroport.graph.declared_widths`), the
            number of the sample among those that were given; else None.
        population: whose it was; empty where that is not known.
    """

    def __init__(
        self, message: str, detail: str = "", sample: int | None = None, population: str = ""
    ) -> None:
        self._what, self.sample, self.population = message, sample, population
        super().__init__(message if sample is None else f"sample {sample}: {message}", detail)

    def later(self, samples: int) -> RangeError:
        """The same, of a run that has ``samples`` more before it."""
        if self.sample is None or samples == 0:
            return self
        return RangeError(self._what, self.detail, self.sample + samples, self.population)


class NeuroportWarning(UserWarning):
    """Something that is done, and may not be what was meant; the command line prints it as one
    line."""
