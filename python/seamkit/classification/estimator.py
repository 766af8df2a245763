"""DecT and other heads on decoder.output as a classifier of scikit-learn."""

from __future__ import annotations

import copy
import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from seamkit._native import Backbone
from seamkit.classification import choice, data
from seamkit.classification.engines import TEMPLATES, Engine, Head, NativeEngine, TorchEngine
from seamkit.errors import FormatError, InvalidArgumentError, NotFoundError

_ENGINES = ("native", "torch")
# Clones in several threads share one model.
_OPENING = threading.Lock()


def _renew_lock() -> None:
    """Makes the lock anew in a forked child, where the thread that held it may be missing."""
    global _OPENING
    _OPENING = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


class DecTClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A few-shot classifier of texts: a frozen model is asked once about each text, and a small head is trained on what
    it says (DecT; Cui et al., ACL 2023).

    backbone: a model's folder or GGUF file, a `seamkit.Backbone` (both on the native engine), or (model, tokenizer) of
    transformers. engine: "torch" to open a path with transformers; None: as the backbone says.
    template: the prompt, "{text} In summary, it was [MASK]"; None for one that suits the kind of model.
        A list of several for an adapter that reads several prompts about each text.
    verbalizer: {label: word or words}. Where its keys are strings and y holds integers, these mean the keys of their text,
    or count the keys from 0 where none has such a key.
    None: each label is its own word. docs/fewshot.md says what both mean.
    tokenizer: the model's; None where the backbone tells. adapter: "dect", "linear-head" or another on decoder.output.
    head: "auto" for one of the ridge head, DecT and the model's calibrated scores alone, whichever does best where each
    example is left out in turn, in the place of `adapter`; the model is not asked again for that.
    lambda_: its weight of the model's own scores; None for the adapter's default. options: its further options.
    multi_token: the score of a word is that of its "first" token or the "mean". scores: "logit" or "probability"; None:
    "probability" for sentence encoders. pooling: of a sentence encoder, "mean", "cls", "max", "pooler"; "auto": as
    modules.json in its folder says, or else the mean.
    epochs, learning_rate: of full-batch Adam. batch_size: texts asked at once in torch; the native engine finds its
    own.
    random_state: an int is the seed of the head's initial values, the same in both engines.
    cache: a folder that keeps the answers of the native engine; else they last as long as the estimator and its clones,
    which share one model and one memory of answers. GridSearchCV and cross_val_score thus ask about each text once.

    Attributes after `fit`: classes_ [n], head_ (the adapter), losses_ (of each epoch), task_ (as saved with the head);
    with head="auto" also choice_ (id and options of the chosen head) and left_out_losses_ (of the three, none where no
    class has two examples).
    An estimator over a path can be pickled, for n_jobs: the other process opens the model again. One over a Backbone
    cannot.
    """

    def __init__(
        self,
        backbone: Any,
        template: str | Sequence[str] | None = None,
        verbalizer: data.Words | None = None,
        *,
        tokenizer: Any = None,
        engine: str | None = None,
        adapter: str = "dect",
        head: str | None = None,
        lambda_: float | None = None,
        options: Mapping[str, Any] | None = None,
        multi_token: str = "first",
        scores: str | None = None,
        pooling: str = "auto",
        epochs: int = 30,
        learning_rate: float = 0.01,
        batch_size: int = 32,
        random_state: Any = 0,
        cache: str | Path | None = None,
    ):
        self.backbone = backbone
        self.template = template
        self.verbalizer = verbalizer
        self.tokenizer = tokenizer
        self.engine = engine
        self.adapter = adapter
        self.head = head
        self.lambda_ = lambda_
        self.options = options
        self.multi_token = multi_token
        self.scores = scores
        self.pooling = pooling
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.random_state = random_state
        self.cache = cache

    # ---- Training and use

    def fit(self, X: Any, y: Any) -> Self:
        """X: texts [n], or pairs [n, 2] for a template with {text_b}. y: labels [n], with every one of the verbalizer.

        Raises ValueError (InvalidArgumentError, ShapeError, FormatError), one sentence, for what does not fit together.
        """
        texts = data.texts(X)
        labels = data.labels(y, self.verbalizer, len(texts[0]))
        engine = self._engine()
        options = dict(self.options or {}) | ({} if self.lambda_ is None else {"lambda": self.lambda_})
        template = TEMPLATES[engine.kind] if self.template is None else self.template
        prompts = {"template": template} if isinstance(template, str) else {"templates": list(template)}
        task = prompts | {
            "multi_token": self.multi_token,
            "scores": self.scores or ("probability" if engine.kind == "sentences" else "logit"),
            "labels": labels.verbalizer,
        }
        head, seed = Head(self.adapter, options, task), self._seed()
        is_choice = choice.is_wanted(self.head, self.adapter, options)
        training = {"epochs": self.epochs, "learning_rate": self.learning_rate}
        with engine.lock:
            if is_choice:
                head, self.left_out_losses_ = choice.choose(engine, head, seed, texts, labels.numbers, **training)
                self.choice_ = (head.id, dict(head.options))
            adapter, losses = engine.fitted(head, seed, texts, labels.numbers, **training)
        self._set(head, labels.classes, labels.order, adapter)
        self.losses_ = losses
        return self

    def decision_function(self, X: Any) -> NDArray[Any]:
        """[n, classes], in the order of `classes_`; for two classes [n], the second's score less the first's."""
        found = self._scores(X)
        return found[:, 1] - found[:, 0] if found.shape[1] == 2 else found

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """[n, classes]: the softmax of the scores, which is what training makes likely."""
        found: NDArray[Any] = softmax(self._scores(X).astype(np.float64), 1)
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of each text [n]."""
        best = self._scores(X).argmax(1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def _scores(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        texts, engine = data.texts(X), self._engine()
        with engine.lock:
            found: NDArray[Any] = engine.scores(self._adapter(engine), self.task_, texts)[:, self._order]
        return found

    @property
    def query_count_(self) -> int:
        """Prompts that the model was asked in this process, for this estimator and its clones."""
        check_is_fitted(self)
        return self._engine().query_count

    # ---- Files

    def save(self, path: str | Path, notes: str = "") -> None:
        """Writes the trained head with its task: the folder that `seam classify`, C, Swift and `load` read."""
        check_is_fitted(self)
        engine = self._engine()
        with engine.lock:
            engine.save(self._adapter(engine), path, notes)

    @classmethod
    def load(cls, path: str | Path, backbone: Any, **parameters: Any) -> Self:
        """A fitted classifier from a saved head, and the model that it is for. `parameters`: tokenizer, engine,
        batch_size, cache ... Its classes are the names of the labels, strings.

        Raises NotFoundError for a head without a task, IncompatibleError for one of another model.
        """
        found = cls(backbone, **parameters)
        engine = found._engine()
        with engine.lock:
            adapter = engine.load(path)
        task = adapter.task
        if task is None:
            raise NotFoundError(f'adapter folder "{path}": it holds no classification task')
        template = task.get("template", task.get("templates"))
        if template is None:
            raise FormatError(f'adapter folder "{path}": its task is not one of prompts and label words')
        found.adapter = json.loads((Path(path) / "adapter_config.json").read_text())["adapter"]
        found.template, found.verbalizer = template, task["labels"]
        found.multi_token, found.scores = task.get("multi_token", "first"), task.get("scores", "logit")
        found.lambda_, found.options = None, dict(adapter.options)
        names = list(task["labels"])
        classes = np.unique(names)
        order = np.array([names.index(each) for each in classes.tolist()])
        found._set(Head(found.adapter, found.options, task), classes, order, adapter)
        return found

    # ---- Inside

    def _set(self, head: Head, classes: NDArray[Any], order: NDArray[Any], adapter: Any) -> None:
        self.classes_, self.head_, self.task_ = classes, adapter, dict(head.task)
        self._order, self._head = order, head

    def _adapter(self, engine: Engine) -> Any:
        """The head; after unpickling, made again from its values."""
        if isinstance(self.head_, dict):
            self.head_ = engine.restored(self._head, self.head_)
        return self.head_

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)) and self.random_state >= 0:
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _shared(self) -> dict[Any, tuple[Any, Engine]]:
        """Opened models, for this estimator and its clones."""
        found: dict[Any, tuple[Any, Engine]] = self.__dict__.setdefault("_engines", {})
        return found

    def _engine(self) -> Engine:
        backbone = self.backbone
        where = (
            str(backbone)
            if isinstance(backbone, (str, Path))
            else tuple(map(id, backbone))
            if isinstance(backbone, (tuple, list))
            else id(backbone)
        )
        cache = None if self.cache is None else str(self.cache)
        key = (where, id(self.tokenizer), self.engine, cache, self.batch_size, self.pooling)
        engines = self._shared()
        with _OPENING:
            if key not in engines:
                # What is kept beside it keeps its id.
                engines[key] = ((backbone, self.tokenizer), self._opened())
            return engines[key][1]

    def _opened(self) -> Engine:
        backbone, tokenizer = self.backbone, self.tokenizer
        if self.engine not in (None, *_ENGINES):
            raise InvalidArgumentError(f"engine must be one of {', '.join(_ENGINES)}, found {self.engine!r}")
        is_path = isinstance(backbone, (str, Path))
        is_native = isinstance(backbone, Backbone) or (is_path and self.engine != "torch")
        if is_native and self.engine != "torch":
            return NativeEngine(backbone, tokenizer, self.cache, self.pooling)
        if is_native or (self.engine == "native"):
            raise InvalidArgumentError(f"engine {self.engine!r} does not run a {type(backbone).__name__}")
        if self.cache is not None:
            raise InvalidArgumentError("cache is for the native engine: the torch engine keeps answers in memory")
        if is_path:
            from seamkit.torch import open_model

            model, own = open_model(backbone)
            return TorchEngine(model, tokenizer or own, self.batch_size, self.pooling)
        if isinstance(backbone, (tuple, list)) and len(backbone) == 2 and tokenizer is None:
            backbone, tokenizer = backbone
        if not hasattr(backbone, "get_output_embeddings") or tokenizer is None:
            raise InvalidArgumentError(
                "backbone must be a path, a seamkit.Backbone, or (model, tokenizer) of transformers, found "
                f"{type(backbone).__name__}{' without a tokenizer' if tokenizer is None else ''}"
            )
        return TorchEngine(backbone, tokenizer, self.batch_size, self.pooling)

    def _is_fitted(self) -> bool:
        return "classes_" in self.__dict__

    def __sklearn_is_fitted__(self) -> bool:
        return self._is_fitted()

    def __sklearn_clone__(self) -> Self:
        """Unfitted, over the same model: models are shared, not copied."""
        found = type(self)(**self.get_params(deep=False))
        found._engines = self._shared()
        if "_metadata_request" in self.__dict__:
            found._metadata_request = copy.deepcopy(self._metadata_request)
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_engines", None)
        if self._is_fitted() and not isinstance(self.head_, dict):
            engine = self._engine()
            with engine.lock:
                state["head_"] = engine.values(self.head_)
        return state
