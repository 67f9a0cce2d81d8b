"""The command line: one file per command, which parses, calls the library and prints."""

from neuroport.cli.main import cli as cli
from neuroport.cli.main import main as main
