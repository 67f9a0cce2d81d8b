"""neuroport's own Lava processes; this folder must contain nothing else.

Lava's compiler executes every file in the folder of a custom process when it looks for process
models.
"""
