"""Names the distribution and its version, as pyproject.toml declares them."""

from importlib.metadata import version

DISTRIBUTION = "klein-server"
VERSION = version(DISTRIBUTION)
