"""What the engine is told of a prediction; pure."""

from app.predictions.catalog import MODELS, CheckpointKind
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
        guidance=1.0 if model.checkpoint is CheckpointKind.DISTILLED else checked.guidance,
        seeds=tuple(seed + k for k in range(checked.num_images)),
        references=references,
        negative_prompt=checked.negative,
        loras=tuple(Lora(path=lora.path, scale=lora.scale) for lora in checked.loras),
        previews=checked.previews,
    )
