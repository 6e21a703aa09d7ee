"""A grid of pictures, so that a human can see what the model has learnt so far."""

from pathlib import Path

from PIL import Image

from worker.weights.recipe.draw import draw
from worker.weights.recipe.edits import Edit, Example, edit_example, text_example
from worker.weights.recipe.evaluate import Evaluation
from worker.weights.recipe.world import Canvas, Sampler

COLUMNS = 8
TEXT_ROWS = 4
CELL_PX = 128


def write_grid(
    evaluation: Evaluation, sampler: Sampler, path: Path, *, columns: int = COLUMNS
) -> list[Example]:
    """Draw rows of prompts, then one row of references above one of their edits."""
    texts = [
        text_example(sampler, Canvas(), count=1 + index // columns % 2)
        for index in range(columns * TEXT_ROWS)
    ]
    kinds = (Edit.RECOLOUR, Edit.RESHAPE, Edit.BACKGROUND, Edit.REMOVE)
    edits = [edit_example(sampler, Canvas(), kinds[i % len(kinds)]) for i in range(columns)]
    cells = list(evaluation.draw_texts(texts))
    cells += [draw(example.references[0]) for example in edits]
    cells += [evaluation.draw_edit(example) for example in edits]
    grid = Image.new("RGB", (columns * CELL_PX, len(cells) // columns * CELL_PX))
    for index, cell in enumerate(cells):
        grid.paste(cell, (index % columns * CELL_PX, index // columns * CELL_PX))
    grid.save(path, optimize=True)
    return texts + edits
