"""Finds and understands LoRA files by their headers alone, without torch. The engine adds them to the weights."""
