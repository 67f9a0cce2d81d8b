"""The command line: a file per verb, which parses, calls the library and prints."""

from neuroport.cli.main import cli as cli
from neuroport.cli.main import main as main
