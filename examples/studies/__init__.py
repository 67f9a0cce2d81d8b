"""Ten studies of residual spiking networks; docs/studies.md tells what they found.

    python -m examples.studies gradients   gradient norm of every block at initialization
    python -m examples.studies depth       accuracy at 8, 20, 56 and 110 layers: who degrades
    python -m examples.studies dormant     neurons that never fire, with 1, 2 and 3 levels
    python -m examples.studies levels      accuracy with 1 to 4 levels, in both kinds of blocks
    python -m examples.studies integer     integer spikes against binary ones, by operations
    python -m examples.studies spikes      spikes per neuron and sample
    python -m examples.studies equal       three DANet architectures, MS and SEW, equally large
    python -m examples.studies isometry    block dynamical isometry, before and during training
    python -m examples.studies shortcuts   what membrane and spike shortcuts cost on a chip
    python -m examples.studies converged   depth again, trained longer, at each family's own rate
    python -m examples.studies all         all but converged, one seed after the other

Each writes ``docs/studies/<study>.json`` and ``.svg`` and the tables of ``docs/studies.md``, and
goes on where it was interrupted; ``--out`` another folder (and ``--runs``) starts from nothing.
``converged`` takes hours, and ``--jobs 2`` trains two of its networks at a time.
"""
