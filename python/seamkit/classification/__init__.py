"""Few-shot classification of texts as an estimator of scikit-learn, on either engine."""

from __future__ import annotations

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "seamkit.DecTClassifier needs scikit-learn, which is not installed: pip install 'seamkit[sklearn]'",
        name="sklearn",
    ) from None

from seamkit.classification.estimator import DecTClassifier

__all__ = ["DecTClassifier"]
