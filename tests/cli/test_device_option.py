"""A device, a number of readers or memory that is not there is one line, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

WITHOUT = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@WITHOUT
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "cuda"), "device 'cuda': torch finds no GPU here; use device='cpu'"),
        (("--device", "gpu"), "unknown device 'gpu'; use 'auto', 'cpu', 'cuda' or 'cuda:1'"),
        (("--workers", "-1"), "workers is -1; use 0 to 1024"),
    ],
)
def test_train_refuses_before_it_reads(
    options: tuple[str, ...], message: str, called: Any, tmp_path: Path
) -> None:
    done = called("train", "demo", "-o", tmp_path / "run", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


@WITHOUT
def test_run_on_a_gpu_that_is_not_there_is_refused_by_both_engines_of_torch(
    called: Any, tmp_path: Path
) -> None:
    from neuroport.graph.graph import Graph
    from neuroport.graph.node import Dense, Input, Relay
    from neuroport.graph.store import save

    nodes = [Input("frames", (1,)), Dense("wide", ("frames",), [[2]]), Relay("out", ("wide",))]
    path = save(Graph(nodes, 3), tmp_path / "small.graph")
    np.save(tmp_path / "frames.npy", np.ones((3, 2, 1), np.uint8))
    given = ("run", path, "--frames", tmp_path / "frames.npy", "--on", "fast", "--device")
    refused, ran = called(*given, "cuda:1"), called(*given, "auto")
    assert refused.returncode == 2
    assert "device 'cuda:1': torch finds no GPU here; use device='cpu'" in refused.stderr
    assert ran.returncode == 0, ran.stderr
    assert "2 samples" in ran.stdout


def test_engine_that_runs_out_of_memory_says_which_batch_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import neuroport as port
    from neuroport.backends import executor
    from neuroport.errors import BackendError
    from neuroport.graph.graph import Graph
    from neuroport.graph.node import Dense, Input, Relay

    nodes = [Input("frames", (1,)), Dense("wide", ("frames",), [[2]]), Relay("out", ("wide",))]
    sent = executor._sent

    def limited(arithmetic: Any, frames: Any, *rest: Any, **more: Any) -> Any:
        if frames.shape[1] > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return sent(arithmetic, frames, *rest, **more)

    monkeypatch.setattr(executor, "_sent", limited)
    frames = np.ones((3, 40, 1), np.uint8)
    with pytest.raises(BackendError, match=r"for batch = 32.*9 GiB.*; 4 was tried and fits"):
        port.run(Graph(nodes, 3), frames, on="fast", batch=32)
    assert port.run(Graph(nodes, 3), frames, on="fast", batch=4).samples == 40
