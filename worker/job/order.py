"""What the engine is told of a prediction; pure."""

from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import UNGUIDED
from app.predictions.prediction import Prediction
from worker.engines import Lora, Order


def order_of(prediction: Prediction, references: tuple[bytes, ...]) -> Order:
    """Say to the engine what the prediction asks for."""
    model = MODELS[prediction.model]
    checked = model.parse(prediction.input)
    width, height = checked.size or (None, None)
    seed = checked.seed or 0
    return Order(
        prompt=checked.prompt,
        width=width,
        height=height,
        steps=checked.num_inference_steps or model.checkpoint.default_steps,
        guidance=checked.guidance if model.checkpoint.is_guided else UNGUIDED,
        seeds=tuple(seed + k for k in range(checked.num_images)),
        references=references,
        negative_prompt=checked.negative,
        loras=tuple(Lora(path=lora.path, scale=lora.scale) for lora in checked.loras),
        previews=checked.previews,
    )
