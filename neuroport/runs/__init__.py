"""What engines take and give: frames, what to record of a run, traces and measurements."""
