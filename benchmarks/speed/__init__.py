"""What neuroport's speed is held to, measured side by side: ``python -m benchmarks.speed``."""
