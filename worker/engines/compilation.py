"""Compiles the parts of a pipeline that take the time: each repeated block once, and the autoencoder."""

from typing import Any

import torch

_RECOMPILES = 64  # sizes beyond it would end in an error in the middle of an order


def compile_model(pipe: Any) -> None:
    """Have the parts compiled when they are first called.

    The first size gets code of its own; the second one code for any size, which later ones use too.
    """
    torch._dynamo.config.recompile_limit = _RECOMPILES  # noqa: SLF001 -- its documented place
    pipe.transformer.compile_repeated_blocks(fullgraph=True)
    pipe.vae.decoder.compile()


def uncompile_model(pipe: Any) -> None:
    """Go back to the code as it was written."""
    for model in (pipe.transformer, pipe.vae):
        for module in model.modules():
            module._compiled_call_impl = None  # noqa: SLF001 -- Module.compile has no opposite
    torch.compiler.reset()
