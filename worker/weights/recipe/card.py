"""The model card: what the built-in model is, how good it was seen to be, and what it cannot do."""

from collections.abc import Mapping
from pathlib import Path

from worker.weights.recipe.evaluate import BASE_GUIDANCE, BASE_STEPS, Figure
from worker.weights.recipe.world import Colour, Place, Relation, Shape, Size

HEAD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
"""
DISTILLED = """# klein-builtin

A small FLUX.2 [klein] pipeline: the classes of the 4B checkpoint with small weights, trained from
nothing by `worker/weights/recipe`. It is what klein serves when `KLEIN_WEIGHTS` is unset, so that a
prompt gives a picture of what it says without a GPU, a download or an account. It contains no
weights and no output of any other model.
"""
BASE = """# klein-builtin-base

The base model of klein-builtin: a small FLUX.2 [klein] base pipeline, trained by
`worker/weights/recipe` from the weights of klein-builtin and on the same world. klein serves it with
`KLEIN_WEIGHTS=builtin-base`, or both with `KLEIN_WEIGHTS=builtin,builtin-base`, so that the models
with `base` in their name, guidance and negative prompts can be tried without a GPU or a download.
"""


def write_card(
    path: Path,
    figures: list[Figure],
    facts: Mapping[str, str],
    *,
    pictures: str | None,
    is_distilled: bool,
) -> None:
    """Write the card with figures that were measured, and none that were not."""
    rows = [f"| {f.name} | {f.value} | {f.target} |" for f in figures]
    size_bytes = sum(file.stat().st_size for file in path.parent.rglob("*.safetensors"))
    parts = [
        HEAD,
        DISTILLED if is_distilled else BASE,
        f"![pictures that this model drew]({pictures})\n" if pictures else "",
        "## Data\n\nScenes drawn by a program, described by a grammar of phrases; nothing else.\n",
        f"- colours: {', '.join(Colour)}",
        f"- shapes: {', '.join(Shape)}; sizes: {', '.join(Size)}",
        f"- one thing, {', '.join(Place)}; or two things, one {', '.join(Relation)} the other",
        "- edits of one reference: recolour, reshape, new background, remove; of two: the colour or",
        "  the background of image 2 for image 1",
        "- one colour of ten is held out for each shape: never trained on, only measured\n",
        "## Size\n",
        f"{size_bytes / 1e6:.1f} MB of safetensors in bf16.\n",
        "## Training\n",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "\n## Measured\n",
        "By `python -m worker.weights.recipe --evaluate FOLDER`: through `Flux2KleinPipeline`, at "
        + ("4\nsteps" if is_distilled else f"{BASE_STEPS}\nsteps and guidance {BASE_GUIDANCE}")
        + ", on freshly drawn prompts, judged by the pixel rules in `rules.py`. One object is right",
        "when background, colour and shape are; two when their relation is too; an edit when the",
        "change was made and everything else stayed. A shape is clean when it overlaps the ideal shape",
        "of equal area and centre by 0.93 or more (intersection over union), its edge has no bite,",
        "corner or spur of more than 6 % of its diameter, and no halo surrounds it (`overlap.py`). The rows",
        "of named sizes measure the picture that a caller gets, after it was enlarged.\n",
        "| measure | seen | goal |\n|---|---|---|",
        *rows,
        "\n## Limits\n",
        "- It knows only the world above. Whatever else a prompt asks for, it draws flat shapes.",
        "- It knows no other colour words (gray, cyan, beige, light or dark ones), no third thing and no",
        '  counts: of "two green squares" it draws one.',
        "- Drawn at about 128x128 pixels (the nearest multiples of 16 for the aspect ratio asked for);",
        "  klein enlarges to the size asked for and sharpens the edges. Shapes are not stretched: at most",
        "  4 % of a side is cropped. Larger pictures do not show more detail.",
        "- What goes unsaid: medium size, in the centre, on white (on black, if a thing is white).",
        "- Prompts are read up to 40 tokens, about 35 words; capitals do not matter.",
        "- It is distilled by construction: `is_distilled` is true and guidance is ignored.\n"
        if is_distilled
        else "- It follows a prompt less well than klein-builtin: it was trained only briefly.\n",
    ]
    path.write_text("\n".join(part for part in parts if part))
