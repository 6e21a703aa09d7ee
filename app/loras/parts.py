"""Parses the tensor names of LoRA files: which module, and which part of its change."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """One tensor of a module's change."""

    DOWN = "lora_A"
    UP = "lora_B"
    ALPHA = "alpha"
    LOKR_W1 = "lokr_w1"
    LOKR_W1_A = "lokr_w1_a"
    LOKR_W1_B = "lokr_w1_b"
    LOKR_W2 = "lokr_w2"
    LOKR_W2_A = "lokr_w2_a"
    LOKR_W2_B = "lokr_w2_b"
    LOHA_W1_A = "hada_w1_a"
    LOHA_W1_B = "hada_w1_b"
    LOHA_W2_A = "hada_w2_a"
    LOHA_W2_B = "hada_w2_b"
    DIFF = "diff"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorName:
    """The parsed name of a tensor."""

    module: str
    part: Part
    adapter: str | None = None
    """The name that PEFT and DiffSynth put between the part and `weight`."""


_SIDES = {"A": Part.DOWN, "down": Part.DOWN, "B": Part.UP, "up": Part.UP}
_LORA = re.compile(
    r"(?P<module>.+?)\.(?:lora_linear_layer\.|lora[._])(?P<side>A|B|down|up)"
    r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.weight)?"
)
_FACTOR = re.compile(
    r"(?P<module>.+?)\.(?P<part>lokr_w[12](?:_[ab])?|hada_w[12]_[ab])"
    r"(?:\.(?!weight$)(?P<adapter>[^.]+))?(?:\.weight)?"
)
_ALPHA = re.compile(r"(?P<module>.+)\.(?:lora_)?alpha")
_DIFF = re.compile(r"(?P<module>.+)\.diff")
_UNSUPPORTED = (
    (
        re.compile(r"\.(dora_scale|lora_magnitude_vector(\..+)?)$"),
        "is a DoRA, whose magnitudes klein does not apply; train or export it as a LoRA",
    ),
    (
        re.compile(r"\.(bias|diff_b|b_norm)$"),
        "has biases, and this model has none",
    ),
    (
        re.compile(r"\.(lora_mid(\.weight)?|lokr_t[12]|hada_t[12])$"),
        "changes convolutions, and this model has none",
    ),
    (re.compile(r"\.(oft_\w+|boft_\w+)(\..+)?$"), "is an OFT, which klein does not apply"),
    (re.compile(r"\.(on_input|ia3_l(\..+)?)$"), "is an IA3, which klein does not apply"),
    (re.compile(r"\.[ab][12]\.weight$"), "is a GLoRA, which klein does not apply"),
    (re.compile(r"\.vera_lambda_\w+$"), "is a VeRA, which klein does not apply"),
    (
        re.compile(r"(scale_weight|weight_scale(_2)?|scaled_fp8|\.absmax|\.quant_state\.)"),
        "is quantised with scales, which klein does not apply; save it in bf16",
    ),
    (
        re.compile(r"(bundle_emb|emb_params|string_to_param|learned_embeds)"),
        "holds a textual inversion, which klein does not apply",
    ),
)


def parse_name(name: str) -> TensorName | None:
    """Parse the name of a tensor, or None if it has the form of no part."""
    if match := _LORA.fullmatch(name):
        part = _SIDES[match["side"]]
        return TensorName(module=match["module"], part=part, adapter=match["adapter"])
    if match := _FACTOR.fullmatch(name):
        return TensorName(
            module=match["module"], part=Part(match["part"]), adapter=match["adapter"]
        )
    if match := _ALPHA.fullmatch(name):
        return TensorName(module=match["module"], part=Part.ALPHA)
    if match := _DIFF.fullmatch(name):
        return TensorName(module=match["module"], part=Part.DIFF)
    return None


def why_unsupported(name: str) -> str | None:
    """Return what a tensor makes of its file that klein does not apply, such as "is a DoRA". Returns None for other names."""
    return next((reason for pattern, reason in _UNSUPPORTED if pattern.search(name)), None)
