"""The models that ship with klein."""

BUILT_IN_MODELS = ("builtin", "builtin-base")
"""Their names in `KLEIN_WEIGHTS`, the distilled one first. Each is that of a folder in `worker/weights`."""
