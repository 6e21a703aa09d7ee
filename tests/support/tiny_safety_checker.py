"""A real image classifier, built by hand, that classifies mostly red images as unsafe."""

from pathlib import Path

SIDE = 32  # px: the input size, in patches of 16


def make_checker(folder: Path, *, label: str = "nsfw", score: float = 4.0) -> Path:
    """Write the folder. Mostly red images score about 1 - e^(-2 x score)."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    config = ViTConfig(
        hidden_size=2,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=2,
        image_size=SIDE,
        patch_size=16,
        id2label={0: "normal", 1: label},
        label2id={"normal": 0, label: 1},
    )
    model = ViTForImageClassification(config)
    weights = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    for name, value in weights.items():
        if "layernorm" in name and name.endswith("weight"):
            value.add_(1)
        elif name.endswith("patch_embeddings.projection.weight"):
            redness = torch.tensor([1.0, -0.5, -0.5]).view(3, 1, 1) / 16**2
            value[0], value[1] = redness, -redness
        elif name.endswith(("v_proj.weight", "o_proj.weight")):
            value.add_(torch.eye(2))  # attention is the mean: everything else in it is zero
        elif name == "classifier.weight":
            value.add_(score * torch.tensor([[-1.0, 1.0], [1.0, -1.0]]) / 2)
    model.load_state_dict(weights)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder
