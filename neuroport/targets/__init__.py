"""Chips and boards: their limits, a network's demands, and whether it fits.

Nothing here was run on hardware. The resource model is fitted to tables that lava-dl's notebooks
publish; ``neuroport targets --fit`` prints it with its residuals.
"""
