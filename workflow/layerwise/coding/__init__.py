"""Weights as few bytes, and back: what workers of a training send each other. Tensors in, bytes out."""
