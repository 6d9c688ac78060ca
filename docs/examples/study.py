"""A study from Python: run it, read what came of it, and use one of its networks.

``python docs/examples/study.py`` runs docs/examples/digits.yaml; results go to the folder ``results`` where you are.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits

from layerwise.__main__ import main
from layerwise.results.study_results import StudyResults
from layerwise.study import file
from layerwise.use import load_network

STUDY = str(Path(__file__).with_name("digits.yaml"))

if main(["all", STUDY, "--threads", "1"]):  # as `layerwise all`: 2 for a mistake, which it names in one line
    sys.exit("the study did not run")

results = StudyResults(file.load(STUDY))
for path, label in results.networks("digits").items():
    mean, half_width = results.interval("digits", path, "test_accuracy")
    seconds = results.values("digits", path, "total_seconds").mean()
    print(f"{label}: {mean:.1f} ± {half_width:.1f} % of the test images, {seconds:.3f} s")

main(["export", STUDY, "digits", "d8/ridge", "d8.safetensors"])
network = load_network("d8.safetensors")  # a torch module: layers, classes, and the preparation of its inputs
images = torch.tensor(load_digits().images[:5], dtype=torch.float32)  # values as in the source, 0 to 16
print("classes", *network.labels(network.scores(images[:, None])))
