"""Your own images, without a study: a model trained block by block in a share of the memory of its training.

``PYTHONPATH=workflow python docs/examples/images.py my_images [MODEL]``, where my_images/train/<class>/ and
my_images/test/<class>/ hold the images.
"""

import sys

import torch
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

from layerwise.local import train

folder, model = sys.argv[1], (sys.argv[2:] or ["resnet18"])[0]
pixels = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
images = datasets.ImageFolder(f"{folder}/train", pixels)
mine, held_out = random_split(images, [0.8, 0.2], torch.Generator().manual_seed(0))
trained = train(
    model,
    DataLoader(mine, batch_size=64, shuffle=True, drop_last=len(mine) > 64),
    DataLoader(held_out, batch_size=64),
    classes=len(images.classes),
    memory=0.5,  # of the whole model's training step; decision blocks are as large as that allows
    optimizer="adamw",
    epochs=(4, 4, 2),  # of the first block, the second, and each one after it
)
for row in trained.record["blocks"]:
    print(f"block {row['last']}: {row['valid_accuracy']:.1f} %, {row['memory_share']:.0%} of the memory")
test = DataLoader(datasets.ImageFolder(f"{folder}/test", pixels), batch_size=64)
device = next(trained.module.parameters()).device
with torch.no_grad():
    right = sum(int((trained.module(x.to(device)).argmax(dim=1).cpu() == y).sum()) for x, y in test)
print(f"cropped at block {trained.record['chosen']}: {100 * right / len(test.dataset):.1f} % of the test images")
torch.save(trained.module.state_dict(), "trained.pt")
