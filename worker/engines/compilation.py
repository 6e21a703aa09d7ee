"""Compiles the transformer blocks and the VAE decoder of a pipeline with torch.compile."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_RECOMPILE_LIMIT = 64  # beyond it torch raises an error in the middle of a generation


def compile_pipeline(pipe: Any) -> None:
    """Compile the modules at their first call.

    torch compiles a static graph for the first size. The second size triggers one dynamic graph, which all later
    sizes use.
    """
    torch._dynamo.config.recompile_limit = _RECOMPILE_LIMIT  # noqa: SLF001 -- its documented place
    pipe.transformer.compile_repeated_blocks(fullgraph=True)
    pipe.vae.decoder.compile()


def eager(module: Any) -> AbstractContextManager[Any]:
    """Return a context in which a module compiles no graph for another size. One that was never compiled needs none."""
    is_compiled = module._compiled_call_impl is not None  # noqa: SLF001 -- there is no public way
    return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()


def reset_compilation(pipe: Any) -> None:
    """Remove all compiled code, so that the modules run eagerly."""
    for model in (pipe.transformer, pipe.vae):
        for module in model.modules():
            module._compiled_call_impl = None  # noqa: SLF001 -- Module.compile has no inverse
    torch.compiler.reset()
