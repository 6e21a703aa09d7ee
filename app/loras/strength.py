"""Reads how strongly a LoRA is meant, from the alphas that PEFT and diffusers keep outside the tensors."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.loras.errors import IncompatibleLora

SCALING_MAX = 1e6  # trainers write about 1
DIFFUSERS_METADATA = "lora_adapter_metadata"  # diffusers/loaders/lora_base.py
_COMPONENT = "transformer."
_TYPES = {"LORA", "LOKR", "LOHA"}
_PATTERN_MAX = 200  # characters
_TOO_COMPLEX = re.compile(r"\)[*+?{]|\(\?|\{|([*+?].*){3}|\\[1-9]")
"""Constructs that can take forever to match. Trainers write names, or names with `.*` for the number of a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """The part of a PEFT configuration that changes a LoRA's strength."""

    alpha: float
    rank: float
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rank_pattern: Mapping[str, float] = field(default_factory=dict)
    is_rank_stabilised: bool = False

    def scaling(self, module: str, rank: int | None) -> float:
        """Return the factor of a module's change. `rank` is that of its factors, or None if they have none."""
        alpha = _matching(self.alpha_pattern, module, self.alpha)
        divisor = rank or _matching(self.rank_pattern, module, self.rank)
        try:
            return alpha / (math.sqrt(divisor) if self.is_rank_stabilised else divisor)
        except (ValueError, ArithmeticError):
            raise IncompatibleLora("its rank is not a positive number") from None


def read_config(metadata: Mapping[str, str], adapter_config: bytes | None) -> AdapterConfig | None:
    """Read the configuration in a file's metadata, or in its `adapter_config.json`. Raises IncompatibleLora."""
    text = metadata.get(DIFFUSERS_METADATA) or adapter_config
    if not text:
        return None
    try:
        values = json.loads(text)
        if adapter_config is None or DIFFUSERS_METADATA in metadata:
            values = {
                name.removeprefix(_COMPONENT): value
                for name, value in values.items()
                if name.startswith(_COMPONENT)
            }
        return _config(values) if values else None
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise IncompatibleLora("its adapter configuration is damaged; save it again") from None


def check_scaling(scaling: float) -> float:
    """Return a usable factor. Raises IncompatibleLora."""
    if not abs(scaling) <= SCALING_MAX:  # also true for NaN
        raise IncompatibleLora("its alpha is out of range")
    return scaling


def _config(values: dict[str, Any]) -> AdapterConfig:
    kind = str(values.get("peft_type") or "LORA").upper().rpartition(".")[2]
    if kind not in _TYPES:
        raise IncompatibleLora(
            f"it is a PEFT adapter of the kind {kind[:40]}, which klein does not apply"
        )
    if values.get("use_dora"):
        raise IncompatibleLora("it is a DoRA, whose magnitudes klein does not apply")
    rank = float(values.get("r") or 8)
    alpha = values.get("lora_alpha", values.get("alpha"))
    return AdapterConfig(
        alpha=rank if alpha is None else float(alpha),
        rank=rank,
        alpha_pattern=_numbers(values.get("alpha_pattern")),
        rank_pattern=_numbers(values.get("rank_pattern")),
        is_rank_stabilised=values.get("use_rslora") is True,
    )


def _numbers(patterns: Any) -> dict[str, float]:
    if not patterns:
        return {}
    if not isinstance(patterns, dict):
        raise TypeError
    for pattern in patterns:
        if len(pattern) > _PATTERN_MAX or _TOO_COMPLEX.search(pattern):
            raise IncompatibleLora(
                f"its adapter configuration has a pattern that is too complex: {pattern[:40]}"
            )
    return {pattern: float(value) for pattern, value in patterns.items()}


def _matching(patterns: Mapping[str, float], module: str, default: float) -> float:
    """Return the value of the first pattern that matches the end of a module's name, as PEFT does (get_pattern_key)."""
    for pattern, value in patterns.items():
        try:
            if pattern == module or re.match(rf"(?:.*\.)?(?:{pattern})$", module):
                return value
        except re.error:
            continue
    return default
