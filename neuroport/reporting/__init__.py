"""Reports of runs: a self-contained HTML page (``html``) and terminal tables (``terminal``).

Jinja2 and rich are imported by those two modules only, so that ``import neuroport`` stays light.
"""
