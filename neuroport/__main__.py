"""``python -m neuroport``: the command line."""

from neuroport.cli import main

if __name__ == "__main__":
    main()
