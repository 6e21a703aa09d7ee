"""Defines why a LoRA file cannot be used."""


class IncompatibleLora(Exception):
    """The file has content that this model cannot apply. The message continues "LoRA NAME: "."""

    def __init__(self, message: str) -> None:
        """Keep only what can be printed, because messages quote names from files of strangers."""
        super().__init__("".join(c if c.isprintable() else "?" for c in message))
