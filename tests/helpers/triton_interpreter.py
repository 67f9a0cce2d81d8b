"""Triton's interpreter, which is NumPy on a CPU, in a child, since it changes Triton everywhere."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


@contextmanager
def interpreter() -> Iterator[Callable[..., Any]]:
    """Yields what calls a function of a module, with arguments, where Triton is interpreted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, _complete) as pool:
            yield lambda function, *arguments: pool.submit(function, *arguments).result(300)


def _complete() -> None:
    """What the interpreter of Triton 2.3 forgot: some types, and sums of 8-bit products."""
    import triton
    import triton.language as tl
    from triton.runtime import interpreter

    builder = getattr(interpreter, "Builder", None)
    if builder is None or not triton.__version__.startswith("2."):
        return
    kinds = ("double", tl.float64), ("int32", tl.int32), ("int16", tl.int16), ("int8", tl.int8)
    for name, kind in (*kinds, ("uint8", tl.uint8)):
        if not hasattr(builder, f"get_{name}_ty"):
            setattr(builder, f"get_{name}_ty", lambda self, kind=kind: kind)
    builder.options = SimpleNamespace(allow_fp8e4nv=True, max_num_imprecise_acc_default=0)

    def create_dot(self: Any, a: Any, b: Any, added: Any, *_: Any) -> Any:
        product = np.matmul(a.data, b.data, dtype=added.data.dtype)
        return interpreter.TensorHandle(product + added.data, added.dtype)

    builder.create_dot = create_dot
    # np.sum of 32 bits gives 64, which a store would write behind a tensor of 32
    patch = interpreter._patch_lang_core

    def patched(lang: Any, builder: Any) -> None:
        patch(lang, builder)
        reduce = lang.reduce

        def narrow(input: Any, axis: Any, combine_fn: Any) -> Any:
            found = reduce(input, axis, combine_fn)
            found.handle.data = found.handle.data.astype(input.handle.data.dtype)
            return found

        lang.reduce = narrow

    interpreter._patch_lang_core = patched
