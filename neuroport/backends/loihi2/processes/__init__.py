"""Processes on the host; nothing else, because Lava executes every file beside a process."""
