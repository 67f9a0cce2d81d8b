"""The inputs and outputs of engines: frames, recording, traces and measurements."""
