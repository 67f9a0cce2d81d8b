"""Is every line of the semantics held by a test? Change each one, and see whether a test fails.

``python -m tests.mutation`` (``make mutate``) makes the mutants of ``cosmic-ray.toml``'s modules
with cosmic-ray, runs the module's tests on each, and writes ``results.json``.
"""
