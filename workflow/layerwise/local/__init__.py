"""Local learning of torch modules from data loaders, for who has a model and images and no study.

>>> import torch
>>> from torch import nn
>>> from torch.utils.data import DataLoader, TensorDataset
>>> _ = torch.manual_seed(0)
>>> y = torch.arange(64) % 2
>>> data = TensorDataset(torch.randn(64, 1, 8, 8) + y[:, None, None, None], y)
>>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
>>> trained = train(model, DataLoader(data, batch_size=16, shuffle=True), DataLoader(data, batch_size=64), epochs=3)
>>> trained.module(data[:4][0]).shape, len(trained.record["blocks"])
(torch.Size([4, 2]), 2)
"""

from layerwise.local.training import Trained, train

__all__ = ["Trained", "train"]
