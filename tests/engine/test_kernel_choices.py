"""The choice of the attention kernel is made once for a device and size, and kept in a file."""

from types import SimpleNamespace

import pytest
import torch

from worker.engines.attention import NATIVE, select_attention_backend
from worker.engines.kernel_choices import FILE_NAME, KernelChoices

CPU = torch.device("cpu")
OTHER = "_native_math"


def pipe(dtype=torch.float32):
    config = SimpleNamespace(num_attention_heads=2, attention_head_dim=16)
    return SimpleNamespace(transformer=SimpleNamespace(config=config, dtype=dtype))


def select(choices, fastest, tokens=100, dtype=torch.float32):
    seconds = {NATIVE: 1.0, OTHER: 2.0, fastest: 0.1}
    return select_attention_backend(
        pipe(dtype), tokens, CPU, lambda _line: None, lambda *_: seconds, choices
    )


def test_restart_chooses_the_same_kernel(tmp_path):
    """Another start on the same device finds other timings, and keeps the kernel."""
    assert select(KernelChoices(tmp_path), OTHER) == OTHER
    assert select(KernelChoices(tmp_path), NATIVE) == OTHER


@pytest.mark.parametrize("change", [{"tokens": 1000}, {"dtype": torch.bfloat16}])
def test_other_size_or_precision_is_another_choice(tmp_path, change):
    """A choice holds for sizes up to the next power of two, and for one precision."""
    choices = KernelChoices(tmp_path)
    select(choices, OTHER)

    assert select(choices, NATIVE, tokens=128) == OTHER
    assert select(choices, NATIVE, **change) == NATIVE


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b"\xff"])
def test_damaged_file_is_replaced(tmp_path, damage):
    """A file that cannot be read costs one timing."""
    (tmp_path / FILE_NAME).write_bytes(damage)

    assert select(KernelChoices(tmp_path), OTHER) == OTHER
    assert select(KernelChoices(tmp_path), NATIVE) == OTHER


def test_unknown_kernel_is_chosen_again(tmp_path):
    """A kernel that this version does not know is not used."""
    choices = KernelChoices(tmp_path)
    select(choices, OTHER)
    file = tmp_path / FILE_NAME
    file.write_text(file.read_text().replace(OTHER, "gone"))

    assert select(choices, NATIVE) == NATIVE


def test_without_folder_nothing_is_kept():
    """Without a cache folder each start chooses."""
    choices = KernelChoices(None)
    select(choices, OTHER)

    assert select(choices, NATIVE) == NATIVE
