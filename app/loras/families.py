"""Says for which model a LoRA was made, by the names of the modules that this model does not have."""

import re

from app.loras.transformer import Linears

_TEXT_ENCODER = re.compile(
    r"(^|[._])(lora_te\d?|te\d?|text_encoders?(_\d)?|text_model|clip_[lg]|t5xxl|qwen\w*|conditioner|cond_stage_model|llm)[._]"
)
_FAMILIES = (
    (
        re.compile(r"(down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)"),
        "Stable Diffusion",
    ),
    (
        re.compile(
            r"(img_mod[._]lin|txt_mod[._]lin|modulation[._]lin\b|norm1(_context)?[._]linear|norm[._]linear|proj_mlp|"
            r"ff(_context)?[._]net|vector_in|time_text_embed)"
        ),
        "FLUX.1 or another model",
    ),
    (re.compile(r"(noise_refiner|context_refiner|(^|[._])layers[._]\d+)"), "Z-Image or Lumina"),
    (re.compile(r"(img_mod[._]1|txt_mod[._]1)"), "Qwen-Image"),
    (re.compile(r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn|ffn)"), "Wan"),
    (re.compile(r"joint_blocks"), "Stable Diffusion 3"),
)
_BLOCK = re.compile(
    r"(single|double|(?<!single_)transformer|sformer)(?:_transformer)?_blocks[._](\d+)"
)


def describe_foreign(module: str, linears: Linears) -> str:
    """Return what is foreign about a module that the model does not have."""
    if _TEXT_ENCODER.search(module):
        return "changes the text encoder, and klein applies LoRAs to the transformer alone"
    if block := _BLOCK.search(module):
        kind = "single_transformer_blocks" if block[1] == "single" else "transformer_blocks"
        count = 1 + max(
            (int(name.split(".")[1]) for name in linears if name.startswith(f"{kind}.")), default=-1
        )
        if int(block[2]) >= count:
            return f"is made for a model with more than {count} {kind}"
    for pattern, family in _FAMILIES:
        if pattern.search(module):
            return f"is made for {family}"
    return "changes modules that this model does not have"
