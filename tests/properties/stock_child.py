"""Runs stock files one after the other: lava-dl is imported once, and once only.

    python stock_child.py RUN_STOCK.py

Every line of standard input names a network, its frames and where to write, separated by tabs;
``run_stock.py`` does the rest. Answers ``done`` or, with the reason, ``failed``. What Lava prints
goes to standard error.
"""

from __future__ import annotations

import os
import runpy
import sys

if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run = runpy.run_path(sys.argv[1])["main"]
    for line in sys.stdin:
        try:
            run(*line.rstrip("\n").split("\t"))
        except Exception as error:
            print("failed", repr(error), file=answers, flush=True)
        else:
            print("done", file=answers, flush=True)
