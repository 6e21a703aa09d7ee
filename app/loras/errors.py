"""Defines why a LoRA file cannot be fetched or used."""


class DiskLow(Exception):
    """The disk has too little space for a file, if some of it is to stay free."""


class IncompatibleLora(Exception):
    """The file has content that this model cannot apply. The message continues "LoRA NAME: "."""

    def __init__(self, message: str) -> None:
        """Keep only what can be printed, because messages quote names from files of strangers."""
        super().__init__("".join(c if c.isprintable() else "?" for c in message))
