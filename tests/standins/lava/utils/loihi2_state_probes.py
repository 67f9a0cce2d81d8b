"""Stand-in for the probe of a variable: reads the real one after every step."""

import sys
from pathlib import Path

import numpy as np
from standin_probe.process import Recorder


class StateProbe:
    def __init__(self, var):
        self.path = Path(sys.argv[1]) / f"probe-{var.id}.bin"
        self.recorder = Recorder(path=str(self.path), shape=var.shape)
        self.recorder.state.connect_var(var)

    @property
    def time_series(self):
        """(neurons * steps,), as public scripts reshape it to (neurons, steps)."""
        rows = np.fromfile(self.path, np.int32).reshape(-1, int(np.prod(self.recorder.state.shape)))
        return rows.T.reshape(-1)
