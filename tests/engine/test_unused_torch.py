"""The parts of torch that an engine process leaves out."""

import sys

import pytest

from tests.support import processes
from worker.engines import Tuning
from worker.engines.tuning import Compile, DeviceChoice, Quantization
from worker.engines.unused_torch import needs_compiler

pytestmark = pytest.mark.timeout(120)

LEFT_OUT = ("pydantic", "sympy", "torch._dynamo.utils", "torch.distributed.tensor")
USED_AFTER_ALL = """
import sys
import torch
from worker.engines import Tuning
from worker.engines.tuning import Compile
from worker.engines.unused_torch import leave_out

leave_out(Tuning(compile=Compile.OFF))
{first}

compiled = torch.compile(lambda x: 2 * x, backend="eager")
print(compiled(torch.ones(1)).item(), hasattr(torch._dynamo, "optimize"))
"""


def test_engine_process_leaves_out_compiler(tiny_weights):
    """An engine on a CPU draws an image from another one, and loads no torch compiler, nothing that spreads models, and no pydantic."""
    result = processes.run([sys.executable, "-m", "tests.support.engine_modules", tiny_weights])

    modules = set(result.stdout.split())
    assert "torch._dynamo" in modules, result.stderr
    assert modules.isdisjoint(LEFT_OUT)


@pytest.mark.parametrize("first", ["torch.compiler.reset()", "import torch._dynamo.utils"])
def test_compiler_is_loaded_when_it_is_used(first):
    """What compiles after all, by a function of torch or by a module of the compiler, gets the compiler."""
    result = processes.run([sys.executable, "-c", USED_AFTER_ALL.format(first=first)])

    assert result.stdout == "2.0 True\n", result.stderr


@pytest.mark.parametrize(
    ("tuning", "device_type", "expected"),
    [
        (Tuning(), "cpu", False),
        (Tuning(), "cuda", True),
        (Tuning(device=DeviceChoice.MPS), "mps", False),
        (Tuning(compile=Compile.ON), "cpu", True),
        (Tuning(compile=Compile.OFF), "cuda", False),
        (Tuning(compile=Compile.OFF, quantization=Quantization.INT8), "cuda", True),
        (Tuning(text_encoder_quantization=Quantization.INT8_WEIGHT_ONLY), "cpu", True),
    ],
)
def test_compiler_is_needed_to_compile_and_to_quantise(tuning, device_type, expected):
    """The compiler is needed where models are compiled, as on a GPU of NVIDIA by default, and by torchao."""
    assert needs_compiler(tuning, device_type) is expected
