"""Reports of runs: a self-contained HTML page (``html``) and terminal tables (``terminal``).

Only these two modules import Jinja2 and rich, so that ``import neuroport`` stays light.
"""
