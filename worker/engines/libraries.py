"""Imports diffusers and transformers without the warnings of their optional parts."""

import logging
from typing import Any

# Before the imports below: diffusers imports torchao, which logs many warnings.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

import diffusers  # noqa: E402
import transformers  # noqa: E402

__all__ = ["diffusers", "silence_libraries", "transformers"]


def silence_libraries() -> None:
    """Turn off the progress bars and warnings of diffusers and transformers."""
    for library in (diffusers, transformers):
        library_logging: Any = library.utils.logging
        library_logging.set_verbosity_error()
        library_logging.disable_progress_bar()
