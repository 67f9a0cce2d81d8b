"""Hostile files: mutated networks and traces, each read whole or refused; stock files besides.

``make hostile`` runs them (``python -m tests.hostile --count 10000``) and writes
``results.json``; ``test_hostile.py`` runs a slice with every other test.
"""
