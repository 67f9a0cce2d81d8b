"""The device on which torch computes, CPU or NVIDIA GPU: parsed and checked before any work."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neuroport.errors import BackendError, NeuroportError

if TYPE_CHECKING:
    import torch


def device_of(name: str = "auto") -> torch.device:
    """Return the device of a name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    ``auto`` is a GPU if torch finds one, otherwise the CPU. If torchrun started several processes
    on a machine, each uses the GPU of its own number (``LOCAL_RANK``).

    Raises:
        BackendError: there is no such device, or processes would have to share one.
    """
    import torch

    kind, _, number = str(name).partition(":")
    if kind not in ("auto", "cpu", "cuda") or (":" in name and not number.isdecimal()):
        raise BackendError(f"unknown device {name!r}; use 'auto', 'cpu', 'cuda' or 'cuda:1'")
    if kind == "auto":
        if number:
            raise BackendError(
                f"unknown device {name!r}; 'auto' takes no number: use 'cuda:{number}'"
            )
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        if int(number or 0) > 0:
            raise BackendError(f"device {name!r}: there is 1, numbered from 0; use device='cpu'")
        return torch.device("cpu")
    present = torch.cuda.device_count()
    if not present:
        raise BackendError(f"device {name!r}: torch finds no GPU here; use device='cpu'")
    together, own = local_processes()
    if together > 1:
        if number:
            raise BackendError(
                f"device {name!r}: {together} processes of torchrun would share it; use "
                "device='cuda', of which each takes its own"
            )
        number = str(own)
    if int(number or 0) >= present:
        told = f"process {own} of {together} has none" if together > 1 else "numbered from 0"
        raise BackendError(f"device {name!r}: there are {present}, {told}")
    return torch.device("cuda", int(number or 0))


def local_processes() -> tuple[int, int]:
    """Return how many processes torchrun started on this machine, and the number of this one."""
    try:
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    except ValueError as error:
        raise BackendError(
            "LOCAL_WORLD_SIZE and LOCAL_RANK are torchrun's and hold numbers; unset them"
        ) from error


def told(device: torch.device) -> str:
    """Return a description of a device: ``cpu``, or the number and name of the GPU."""
    import torch

    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def ran_out(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out, of a GPU or of the machine."""
    import torch

    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in said or "can't allocate memory" in said
    )


def forget(device: torch.device) -> None:
    """Release the GPU memory that torch caches."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()


def largest_fitting(batch: int, least: int, attempt: Callable[[int], Any]) -> int | None:
    """Return the first batch size for which ``attempt`` has memory, halving ``batch`` repeatedly.

    None if ``least`` is also too large.
    """
    while batch > least:
        batch = max(batch // 2, least)
        try:
            attempt(batch)
        except Exception as error:
            if not ran_out(error):
                raise
        else:
            return batch
    return None


@contextmanager
def memory_of(
    device: torch.device,
    batch: int,
    least: int,
    attempt: Callable[[int], Any],
    error: type[NeuroportError],
    key: str,
) -> Iterator[None]:
    """Context that turns a lack of memory into one error, which names a batch size that fits.

    Args:
        batch: number of samples that are computed together.
        least: the smallest possible number.
        attempt: function that computes a given number, called after the first attempt has failed.
        error: class of the error to raise.
        key: the user's setting, for the message.
    """
    try:
        yield
    except Exception as first:
        if not ran_out(first):
            raise
        said = str(first).splitlines()[0] if str(first) else type(first).__name__
        traceback.clear_frames(first.__traceback__)  # tracebacks hold the tensors that did not fit
    else:
        return
    forget(device)
    fits = largest_fitting(batch, least, attempt)
    forget(device)
    advice = (
        f"{fits} was tried and fits: use it"
        if fits is not None
        else f"{least} does not fit either: use a smaller network, fewer steps or another device"
    )
    raise error(f"{told(device)} has too little memory for {key} = {batch} ({said}); {advice}")
