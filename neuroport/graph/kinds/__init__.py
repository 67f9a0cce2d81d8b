"""The kinds of nodes that come with neuroport, one file each; ``graph/node.py`` lists them."""
