"""A fitted network outside its study: on files of new samples, and as one file that torch takes anywhere.

from layerwise.use import load_network

network = load_network("cats.safetensors")             # as `python -m layerwise export` wrote it
scores = network(network.read("cat.png"))              # (1, classes); raw pixels go in
print(network.classes[scores.argmax()])
"""

from layerwise.use.exported import export_network, load_network
from layerwise.use.network import Network

__all__ = ["Network", "export_network", "load_network"]
