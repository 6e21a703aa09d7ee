"""Finds and understands LoRA files by their headers alone, without torch; the engine adds them to the weights."""
