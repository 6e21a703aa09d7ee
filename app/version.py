"""Tells the version of this klein, as pyproject.toml declares it."""

from importlib.metadata import version

VERSION = version("klein")
