"""Classification of texts: a prompt, label words, and adapters on decoder.output such as DecT."""

from seamkit.torch.classification.classifier import Classifier
from seamkit.torch.classification.features import FeatureExtractor, Features
from seamkit.torch.classification.heads import FitOptions, class_scores, fit
from seamkit.torch.classification.opening import open_model
from seamkit.torch.classification.task import ClassificationTask

__all__ = [
    "ClassificationTask",
    "Classifier",
    "FeatureExtractor",
    "Features",
    "FitOptions",
    "class_scores",
    "fit",
    "open_model",
]
