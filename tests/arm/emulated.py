"""``network.c`` for 64-bit ARM, run by qemu, in the place of the library of this processor."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from neuroport.backends import compiled_network
from neuroport.kernels.compilation import ARM_LEVELS, HERE, flags_for
from neuroport.kernels.network_kernel import (
    LIF,
    SIZE,
    SYNAPSE,
    WORDS,
    OperationStruct,
    ValueStruct,
)

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
FOLDER = Path(__file__).parent
ALIGNED = 64
WIDTHS = ("8 bits", "16 bits", "32 bits")  # of BYTES, SHORTS, WORDS
POINTERS = ("weight", "bias", "limit", "keep_u", "keep_v", "record", "live", "left")


@dataclass(frozen=True)
class CodePath:
    """Code of ``network.c`` and an emulated processor that has just what the code needs."""

    name: str
    cpu: str
    flags: tuple[str, ...]


_FLAGS = {level.name: flags_for(level.architecture) for level in ARM_LEVELS}
PATHS = (
    # the code for a processor that network.c knows nothing of
    CodePath("plain", "cortex-a53", (*_FLAGS["NEON"], "-U__AARCH64EL__")),
    CodePath("NEON", "cortex-a53", _FLAGS["NEON"]),
    CodePath("dot product", "neoverse-n1", _FLAGS["dot product"]),
    CodePath("I8MM", "max", _FLAGS["I8MM"]),
)


def missing() -> str | None:
    """Return what has to be installed before anything can be emulated; None if nothing."""
    packages = {COMPILER: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross", EMULATOR: "qemu-user"}
    lacking = [package for tool, package in packages.items() if shutil.which(tool) is None]
    if not lacking:
        return None
    return f"code for ARM was not run: apt-get install {' '.join(lacking)} (Debian, Ubuntu)"


def compiled(main: str, flags: tuple[str, ...], out: Path, *kernels: str) -> Path:
    """Compile a program of this folder for ARM, with kernels that it calls."""
    sources = [str(FOLDER / main), *(str(HERE / name) for name in kernels)]
    command = [COMPILER, *flags, "-fopenmp", "-static", f"-I{HERE}", *sources]
    done = subprocess.run([*command, "-o", str(out), "-lm"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def emulate(cpu: str, *command: str | Path, given: bytes = b"") -> bytes:
    """Return what a program writes on an emulated processor.

    Raises:
        CalledProcessError: it fails, with -SIGILL where the processor lacks an instruction.
    """
    done = [EMULATOR, "-cpu", cpu, *map(str, command)]
    return subprocess.run(done, input=given, check=True, capture_output=True).stdout


class Emulated:
    """A path's program; has the functions of the library that ``CompiledNetwork`` calls."""

    def __init__(self, path: CodePath, folder: Path) -> None:
        self.name, self.cpu = path.name, path.cpu
        self.program = compiled("network_call.c", path.flags, folder / path.name.replace(" ", "-"))
        said = map(int, self.run(path.cpu).split())
        self._lanes, self._largest_byte, self.hwcap, self.hwcap2 = said
        self.synapses: Counter[str] = Counter()  # how wide what they multiply was
        self.call = b""  # memory of the last call

    def network_lanes(self) -> int:
        return self._lanes

    def network_largest_byte(self) -> int:
        return self._largest_byte

    def network(
        self,
        operations: ctypes.Array[OperationStruct],
        count: int,
        values: ctypes.Array[ValueStruct],
        scratch: int,
        size: int,
        steps: int,
        samples: int,
        threads: int,
    ) -> None:
        """Run a call: all memory that operations point to is sent to qemu and comes back."""
        memory = bytearray(bytes(operations) + bytes(values))
        moved = (OperationStruct * count).from_buffer_copy(operations)
        places: list[tuple[int, int, int]] = []
        for operation, copy in zip(operations, moved, strict=True):
            if operation.what == SYNAPSE:
                self.synapses[WIDTHS[values[operation.source[0]].kind]] += 1
            assert not operation.state
            for name, length in _lengths(operation, values, steps, samples).items():
                memory += bytes(-len(memory) % ALIGNED)
                places.append((address := getattr(operation, name), len(memory), length))
                setattr(copy, name, len(memory))
                memory += ctypes.string_at(address, length)
        memory[: ctypes.sizeof(moved)] = bytes(moved)
        memory += bytes(-len(memory) % ALIGNED)
        header = np.array([len(memory), count, len(values), size, steps, samples, threads])
        self.call = header.astype(np.int64).tobytes() + memory
        back = self.run(self.cpu, "1", given=self.call)
        for address, offset, length in places:
            ctypes.memmove(address, back[offset : offset + length], length)

    def instructions(self) -> int:
        """Instructions that the last call of network() took."""
        once, twice = (self._instructions(times) for times in ("1", "2"))
        return twice - once

    def _instructions(self, times: str) -> int:
        """Instructions of a process: blocks as qemu translated them, each time one was run."""
        log = self.program.with_suffix(".log")
        self.run(self.cpu, times, given=self.call, log=log)
        count, lengths, first = 0, Counter[int](), None
        with log.open() as lines:
            for line in lines:
                if line.startswith("Trace"):
                    count += lengths[int(line.split("/")[1], 16)]
                elif line.startswith("IN:"):
                    first = None
                elif line.startswith("0x"):
                    address = int(line.split(":")[0], 16)
                    if first is None:
                        first, lengths[address] = address, 0
                    lengths[first] += 1
        log.unlink()
        return count

    def run(self, cpu: str, *arguments: str, given: bytes = b"", log: Path | None = None) -> bytes:
        """Run the program on any emulated processor; ``log``: with the blocks it goes through."""
        options = ("-d", "in_asm,exec,nochain", "-D", str(log)) if log else ()
        return emulate(cpu, *options, self.program, *arguments, given=given)


def _lengths(operation: OperationStruct, values: Any, steps: int, samples: int) -> dict[str, int]:
    """Bytes that an operation points to."""
    out = values[operation.out]
    image = out.channels * out.height * out.width
    fields = (1 if operation.everywhere else out.height * out.width) * out.padded
    words = operation.kernel[0] * operation.kernel[1] * operation.words
    each = 1 if operation.what == LIF else SIZE[WORDS]
    lengths = {
        "weight": out.padded * words * SIZE[WORDS],
        **dict.fromkeys(("bias", "limit", "keep_u", "keep_v"), fields * SIZE[WORDS]),
        "record": ((steps - 1) * operation.samples + samples) * image * each,
        "live": steps,
        "left": samples,
    }
    return {name: lengths[name] for name in POINTERS if getattr(operation, name)}


@contextmanager
def emulating(library: Emulated) -> Iterator[None]:
    """The fast engine on an emulated processor."""
    with patch.object(compiled_network, "kernels", lambda: library):
        yield
