"""Tests of GGUF files: their values equal those of the package gguf, and damaged ones are refused at once."""

import struct

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize

from tests.support import layouts
from tests.support.tiny_weights import make_tiny_weights
from worker.engines import Order, Tuning, open_engine
from worker.engines.errors import WeightsError
from worker.engines.gguf_header import read_gguf_header
from worker.engines.quantization import signal_to_noise_db
from worker.engines.tensor_file import open_tensor_file
from worker.engines.tensor_names import Component
from worker.engines.tensor_reader import TensorReader
from worker.engines.tuning import Compile

KINDS = ["Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "BF16", "F16", "F32"]  # fmt: skip
ROWS, COLUMNS = 6, 512
NAME = "blk.0.attn_q.weight"


def write(file, blocks, kind):
    """Write a file with one tensor, and values of every other kind in its header."""
    writer = gguf.GGUFWriter(file, "qwen3")
    writer.add_array("tokens", ["a", "b"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_string("general.name", "klein")
    writer.add_float32("epsilon", 0.5)
    writer.add_bool("is_small", val=True)
    writer.add_tensor(NAME, blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def random_blocks(kind):
    """Return random blocks whose 16-bit scales are small numbers, wherever in the block they are."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    generator = np.random.default_rng(0)
    if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
        dtype = np.float32 if kind == gguf.GGMLQuantizationType.F32 else np.float16
        return generator.standard_normal((ROWS, COLUMNS)).astype(dtype)
    blocks = generator.integers(0, 256, (ROWS * COLUMNS // block, size), dtype=np.uint8)
    blocks[:, 1::2] &= 0x33  # the high byte of any 16-bit float: no infinity, and at most 0.23
    blocks[:, 0::2] &= 0x33
    return blocks.reshape(ROWS, -1)


@pytest.mark.parametrize("name", KINDS)
def test_values_equal_those_of_gguf(name, tmp_path):
    """Each type has the shape and the values that the package gguf reads, within the rounding of 16-bit floats."""
    kind = gguf.GGMLQuantizationType[name]
    blocks = random_blocks(kind)
    file = open_tensor_file(write(tmp_path / "a.gguf", blocks, kind))

    values = TensorReader(Component.TEXT_ENCODER, [file], shapes_only=False).read(NAME)

    expected = torch.from_numpy(np.array(dequantize(blocks, kind)).astype(np.float32))
    assert file.tensors[NAME].shape == values.shape == (ROWS, COLUMNS)
    assert signal_to_noise_db(expected, values.float()) > 55


@pytest.fixture(scope="module")
def wide_weights(tmp_path_factory):
    """A tiny checkpoint whose transformer is as wide as a block of the K types."""
    return make_tiny_weights(tmp_path_factory.mktemp("wide") / "weights", head_dim=128)


@pytest.mark.parametrize(
    "name",
    ["Q4_K", *(pytest.param(n, marks=pytest.mark.slow) for n in ("Q6_K", "Q5_K", "Q3_K", "Q2_K"))],
)
def test_k_types_give_image_of_their_values(name, wide_weights, tmp_path):
    """A transformer in a K type gives the image of the same values as floats."""
    kind = gguf.GGMLQuantizationType[name]
    transformer = layouts.to_bfl(layouts.load(wide_weights, "transformer"))
    blocks, values = {}, {}
    for key, tensor in transformer.items():
        if tensor.ndim == 2 and tensor.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
            blocks[key] = small_blocks(kind, *tensor.shape)
            values[key] = torch.from_numpy(dequantize(blocks[key], kind).astype(np.float32))

    quantised = {key: (block, kind) for key, block in blocks.items()}
    written = layouts.write_gguf(transformer, tmp_path / "k.gguf", quantised=quantised)
    image = generate(wide_weights, written)
    expected = generate(wide_weights, layouts.write_gguf(transformer | values, tmp_path / "f.gguf"))
    other = generate(wide_weights, layouts.write_gguf(transformer, tmp_path / "o.gguf"))

    assert len(blocks) > 8
    assert psnr_db(image, expected) > 50
    assert psnr_db(image, other) < 30


def small_blocks(kind, rows, columns):
    """Return random blocks of a matrix, whose scales are small enough for a transformer."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.random.default_rng(rows).integers(0, 256, (rows * columns // block, size), np.uint8)
    return (blocks & 0x13).reshape(rows, -1)


def generate(weights, transformer):
    order = Order(prompt="a red circle", width=64, height=64, steps=2, guidance=1.0, seeds=(7,))
    engine = open_engine(weights, tuning=Tuning(compile=Compile.OFF, transformer=transformer))
    return engine.generate(order, lambda _step, _steps: None).images[0].astype(float)


def psnr_db(image, expected):
    noise = np.square(image - expected).mean()
    return 10 * np.log10(255**2 / noise) if noise else np.inf


def test_unknown_type_is_refused(tmp_path):
    """A type that klein does not read is refused with the name of the tensor and types that it reads."""
    kind = gguf.GGMLQuantizationType.Q8_0
    file = write(tmp_path / "a.gguf", random_blocks(kind), kind)
    data = bytearray(file.read_bytes())
    at = data.index(NAME.encode()) + len(NAME) + 4 + 16
    data[at : at + 4] = struct.pack("<I", 29)
    file.write_bytes(data)

    with pytest.raises(WeightsError, match=rf"{NAME} has GGUF type 29.*Q8_0, Q6_K, Q5_K or Q4_K$"):
        read_gguf_header(file)


@pytest.mark.parametrize("keep", [0, 4, 20, 60, 200, -1])
def test_truncated_file_is_refused(keep, tmp_path):
    """A file without its end is refused, wherever it was cut."""
    kind = gguf.GGMLQuantizationType.Q8_0
    file = write(tmp_path / "a.gguf", random_blocks(kind), kind)
    file.write_bytes(file.read_bytes()[:keep])

    with pytest.raises(WeightsError, match=r"Copy or download it again$"):
        read_gguf_header(file)


def test_huge_counts_are_refused_at_once(tmp_path):
    """Counts far beyond the size of the file end the reading, and take no time and no memory."""
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
    key = struct.pack("<Q", 1) + b"a"
    for value in (
        struct.pack("<IIQ", 9, 0, 1 << 60),
        struct.pack("<IIQ", 9, 8, 1 << 60),
        struct.pack("<IQ", 8, 1 << 60),
    ):
        file = tmp_path / "a.gguf"
        file.write_bytes(header + key + value + b"\0" * 100)

        with pytest.raises(WeightsError, match="header is cut off or damaged"):
            read_gguf_header(file)
