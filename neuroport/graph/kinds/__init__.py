"""The kinds of nodes that come with neuroport, a file each; ``graph/node.py`` lists them."""
