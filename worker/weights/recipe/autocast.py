"""Mixed precision of training."""

import torch


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Compute the matrix products inside in this precision; float32 changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision is torch.bfloat16)
