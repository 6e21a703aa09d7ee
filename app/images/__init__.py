"""Reads and checks input images before a prediction is queued."""
