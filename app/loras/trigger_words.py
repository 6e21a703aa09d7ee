"""Finds the trigger words of a LoRA in the metadata that trainers write."""

import json
from collections.abc import Mapping
from typing import Any

WORDS_MAX = 10
_WORD_MAX_LENGTH = 100  # characters
_TEXT_MAX_LENGTH = 1024 * 1024  # characters of JSON
_FIELDS = (
    "modelspec.trigger_phrase",
    "trigger_words",
    "trigger_word",
    "trigger_phrase",
    "trigger",
    "activation_text",
    "instance_prompt",
    "ss_trigger_words",
)
_KOHYA_TAGS = "ss_tag_frequency"


def read_trigger_words(metadata: Mapping[str, str]) -> list[str]:
    """Return the words that the trainer names, or else the tags that kohya counted most often."""
    for field in _FIELDS:
        if words := _split(metadata.get(field, "")):
            return words
    return _frequent_tags(metadata.get(_KOHYA_TAGS, ""))


def _split(text: str) -> list[str]:
    values: Any = _json(text) if text[:1] in {"[", '"'} else None
    if not isinstance(values, list):
        values = (values if isinstance(values, str) else text[:_TEXT_MAX_LENGTH]).split(",")
    return _clean(values)


def _frequent_tags(text: str) -> list[str]:
    counts: dict[str, float] = {}
    folders = _json(text)
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int | float):
                counts[tag] = counts.get(tag, 0) + count
    return _clean(sorted(counts, key=lambda tag: -counts[tag]))


def _json(text: str) -> Any:
    if len(text) > _TEXT_MAX_LENGTH:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _clean(words: list[Any]) -> list[str]:
    texts = (" ".join(word.split()) for word in words if isinstance(word, str))
    printable = ("".join(c for c in text if c.isprintable()) for text in texts)
    return list(dict.fromkeys(word for word in printable if 0 < len(word) <= _WORD_MAX_LENGTH))[
        :WORDS_MAX
    ]
