"""The tokenizer: a byte-level BPE learnt from the world's own sentences."""

import json
import random
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from worker.weights.recipe.edits import ONE_REFERENCE, TWO_REFERENCES, edit_example, text_example
from worker.weights.recipe.world import Canvas, Sampler

VOCABULARY = 1_200
SENTENCES = 6_000
END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# One turn of chat, in two tokens; small letters only, so that capitals cost nothing to learn.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '" + START + "' + (message.content | lower | trim) + '" + END + "' -}}"
    "{%- endfor -%}"
)
# Words a caller may well use that the world does not: they get few tokens, so prompts stay short.
OTHER_WORDS = (
    "photo photograph portrait landscape cat dog bird fish horse house tree flower mountain river "
    "sea sky sun moon cloud rain snow city street car boat bridge castle garden forest night day "
    "morning evening light shadow colorful bright dark old new young man woman child person people "
    "face hand table chair window door book glass water fire stone wood metal gold silver cyan gray "
    "grey oval rectangle hexagon three four five many several with without inside between behind "
    "beside around style painting watercolor sketch cartoon anime realistic cinematic abstract"
)


def _sentences(count: int) -> list[str]:
    sampler, canvas = Sampler(random.Random(3)), Canvas()  # noqa: S311  not for secrets
    edits = ONE_REFERENCE + TWO_REFERENCES
    examples = [text_example(sampler, canvas) for _ in range(count)]
    examples += [edit_example(sampler, canvas, sampler.rng.choice(edits)) for _ in range(count)]
    return [example.prompt.lower() for example in examples] + [f"a {OTHER_WORDS}"] * 20


def new_tokenizer(*, sentences: int = SENTENCES) -> Qwen2Tokenizer:
    """Learn the merges and give the tokenizer, in the class that FLUX.2 [klein] uses."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_sentences(sentences), trainer)
    learnt = json.loads(bpe.to_str())["model"]
    merges: Any = [tuple(pair) for pair in learnt["merges"]]  # declared narrower than it takes
    return Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=merges,
        eos_token=END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        padding_side="right",
    )
