"""Hostile files: ten thousand mutated networks and traces, each read whole or refused.

``make hostile`` runs them (``python -m tests.hostile --count 10000``) and writes
``results.json``; ``test_hostile.py`` runs a slice with every other test.
"""
