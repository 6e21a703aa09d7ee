"""Describes how an image was generated, for the metadata of its file. Does no I/O."""

from app.generation_text import Metadata, write_text
from app.predictions.catalog import parameters_of
from app.predictions.prediction import Prediction
from app.version import VERSION


def describe(prediction: Prediction, index: int, size: tuple[int, int]) -> str:
    """Return the text for image `index` of a prediction, of this width and height in pixels, or '' if the caller wants none."""
    parameters = parameters_of(prediction)
    if parameters.metadata is Metadata.NONE:
        return ""
    settings: dict[str, object] = {
        "Steps": parameters.steps,
        "CFG scale": f"{parameters.guidance:g}",
        "Seed": parameters.seeds[index],
        "Size": f"{size[0]}x{size[1]}",
        "Model": prediction.model,
    }
    if parameters.strength < 1:
        settings["Denoising strength"] = f"{parameters.strength:g}"
    is_full = parameters.metadata is Metadata.FULL
    if is_full and parameters.loras:
        settings["LoRAs"] = ", ".join(f"{lora.path}:{lora.scale:g}" for lora in parameters.loras)
    settings["Version"] = f"klein {VERSION}"
    prompt = prediction.prompt if is_full else ""
    return write_text(prompt, parameters.negative_prompt if is_full else "", settings)
