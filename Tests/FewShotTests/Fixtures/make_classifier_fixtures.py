"""Writes classifier_fixtures.json: what scikit-learn makes of small data sets.

    python make_classifier_fixtures.py > classifier_fixtures.json

Logistic regression is solved by the solver that comes closest to the minimum, which all of them share: "lbfgs" stalls
on badly scaled features, "newton-cholesky" on separable ones. Features are f32 numbers, computed with in f64.
"""

import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(7)


def numbers(array):
    """f32 numbers in the fewest digits that read back the same."""
    return [float(np.format_float_positional(x, unique=True)) for x in np.asarray(array, dtype=np.float32).ravel()]


def metric_case(labels, predictions, classes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "labels": [int(x) for x in labels],
            "predictions": [int(x) for x in predictions],
            "classes": classes,
            "accuracy": accuracy_score(labels, predictions),
            "macro_f1": f1_score(labels, predictions, average="macro", zero_division=0),
            "confusion": confusion_matrix(labels, predictions, labels=range(classes)).tolist(),
        }


def metric_cases():
    yield metric_case([0, 1], [1, 0], 2)
    yield metric_case([1], [1], 3)
    yield metric_case([0, 0, 2, 2], [0, 1, 2, 2], 5)
    for classes, count in [(2, 50), (3, 200), (77, 300), (10, 12)]:
        labels = rng.integers(0, classes, count)
        predictions = np.where(rng.random(count) < 0.6, labels, rng.integers(0, classes, count))
        yield metric_case(labels, predictions, classes)


def spread_case(values):
    return {"values": values, "mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}


def gradient(model, features, labels, c):
    """The largest component of the gradient of the penalised loss, by the deviation of its feature."""
    errors = model.predict_proba(features) - np.eye(len(model.classes_))[labels]
    if len(model.classes_) == 2:
        errors = errors[:, 1:]
    slopes = (model.coef_ + c * errors.T @ (features - features.mean(axis=0))) / features.std(axis=0)
    return max(np.abs(slopes).max(), np.abs(errors.sum(axis=0)).max())


def solve(features, labels, c):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [
            LogisticRegression(C=c, solver=solver, tol=1e-10, max_iter=100000).fit(features, labels)
            for solver in ("lbfgs", "newton-cholesky")
        ]
    best = min(models, key=lambda model: gradient(model, features, labels, c))
    assert gradient(best, features, labels, c) < 1e-5 * max(1, c), gradient(best, features, labels, c)
    return best


def model_case(name, classes, train, test, width, offset=0.0, scales=None, distance=1.0, c=1.0, standardize=False):
    scales = np.ones(width) if scales is None else scales
    means = rng.normal(size=(classes, width)) * distance

    def draw(count):
        labels = np.arange(count) % classes
        features = (means[labels] + rng.normal(size=(count, width))) * scales + offset
        return features.astype(np.float32).astype(np.float64), labels

    features, labels = draw(train)
    held_out, _ = draw(test)
    scaler = StandardScaler().fit(features) if standardize else None
    fitted = scaler.transform(features) if standardize else features
    model = solve(fitted, labels, c)
    coefficients, intercepts = model.coef_, model.intercept_
    if standardize:
        coefficients = coefficients / scaler.scale_
        intercepts = intercepts - coefficients @ scaler.mean_
    scores = np.atleast_2d((held_out @ coefficients.T + intercepts).T).T
    if classes == 2:
        scores = np.hstack([np.zeros_like(scores), scores])
    ordered = np.sort(scores, axis=1)
    assert (ordered[:, -1] - ordered[:, -2]).min() > 1e-3, f"{name}: a held-out example stands on the border"
    centroid = NearestCentroid().fit(features, labels)
    return {
        "name": name,
        "classes": classes,
        "width": width,
        "c": c,
        "standardize": standardize,
        "features": numbers(features),
        "labels": labels.tolist(),
        "held_out": numbers(held_out),
        "coefficients": coefficients.ravel().tolist(),
        "intercepts": intercepts.tolist(),
        "predictions": scores.argmax(axis=1).tolist(),
        "centroids": centroid.centroids_.ravel().tolist(),
        "nearest": centroid.predict(held_out).tolist(),
    }


def model_cases():
    yield model_case("three classes", 3, 60, 30, 5)
    yield model_case("two classes", 2, 50, 30, 4)
    yield model_case("two separable classes", 2, 40, 20, 3, distance=6.0)
    yield model_case("many separable classes, weak penalty", 6, 48, 24, 8, distance=8.0, c=100.0)
    yield model_case("strong penalty", 3, 60, 30, 5, c=0.01)
    yield model_case("few shots in many dimensions", 3, 12, 21, 40)
    yield model_case("one shot", 4, 4, 20, 12)
    scales = 10.0 ** rng.uniform(-2, 2, 10)
    yield model_case("features of all sizes far from zero", 4, 80, 40, 10, offset=200.0, scales=scales)
    yield model_case("the same standardized", 4, 80, 40, 10, offset=200.0, scales=scales, standardize=True)


json.dump(
    {
        "generated_by": f"make_classifier_fixtures.py with scikit-learn {sklearn.__version__}; do not edit",
        "metrics": list(metric_cases()),
        "spreads": [spread_case([0.5, 0.5]), spread_case([1.0, 2.0, 4.0]), spread_case(rng.random(7).tolist())],
        "models": list(model_cases()),
    },
    sys.stdout,
    indent=None,
    separators=(",", ":"),
)
print()
