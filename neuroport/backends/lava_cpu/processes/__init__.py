"""Lava processes of neuroport, alone in this folder.

Lava's compiler executes every file in the folder of a custom process when it looks for process
models, so nothing else may live here.
"""
