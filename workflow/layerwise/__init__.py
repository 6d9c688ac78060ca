"""Layerwise: neural networks trained segment by segment, beside backpropagation, on equal terms."""

__version__ = "0.1.0"
