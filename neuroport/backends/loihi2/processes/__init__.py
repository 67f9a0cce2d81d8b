"""Processes of the host, alone in this folder: Lava executes every file beside a process."""
