"""The two engines as the estimator needs them: a model that is asked about texts, and heads on its answers."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from seamkit._native import Backbone, Classifier, Runtime, Tokenizer
from seamkit._native.info import ENCODER_ONLY, TEXT
from seamkit.errors import InvalidArgumentError

_SUMMARY = " In summary, it was "
TEMPLATES = {"masked": f"{{text}}{_SUMMARY}[MASK].", "causal": f"{{text}}{_SUMMARY}", "sentences": "{text}"}

Texts = tuple[Sequence[str], Sequence[str] | None]


@dataclass(frozen=True)
class Head:
    """Which adapter on decoder.output, for a task; `training` are members of seam_fit_options."""

    id: str
    options: Mapping[str, Any]
    task: Mapping[str, Any]

    @property
    def classes(self) -> int:
        return len(self.task["labels"])

    @property
    def prompts(self) -> int:
        """Those about each text."""
        return len(self.task.get("templates", [None]))

    def score_kind(self, has_log_probabilities: bool = False) -> str:
        """What the scores are that it is given, as the command "seam fewshot" says of the same task."""
        if self.task.get("scores") == "probability":
            return "probabilities"
        # Similarities are scaled, so that a softmax makes probabilities of them.
        return "log_probabilities" if has_log_probabilities else "logits"

    def names(self, numbers: NDArray[Any]) -> list[str]:
        """The names of labels that are given by their places in the task."""
        names = list(self.task["labels"])
        return [names[each] for each in numbers.tolist()]


class Engine(Protocol):
    """A model that is asked once about each text. One thread at a time; `lock` sees to it.

    kind: of the model, "masked", "causal" or "sentences". query_count: prompts that it was asked.
    """

    lock: threading.RLock
    kind: str

    @property
    def query_count(self) -> int: ...
    def fitted(self, head: Head, seed: int, texts: Texts, labels: NDArray[Any], **training: Any) -> Any:
        """The adapter, trained, and the loss of each epoch."""

    def restored(self, head: Head, values: Mapping[str, NDArray[Any]]) -> Any:
        """An adapter with these values of its parameters."""

    def values(self, adapter: Any) -> dict[str, NDArray[Any]]: ...
    def scores(self, adapter: Any, task: Mapping[str, Any], texts: Texts) -> NDArray[Any]: ...
    def load(self, path: str | Path) -> Any: ...
    def save(self, adapter: Any, path: str | Path, notes: str) -> None: ...


class NativeEngine:
    """libSeam.so. backbone: a folder or GGUF file, or one that is open. cache: a folder that keeps the model's answers;
    None for one that goes with this object."""

    def __init__(
        self, backbone: Backbone | str | Path, tokenizer: Tokenizer | None, cache: str | Path | None, pooling: str
    ):
        self.lock = threading.RLock()
        if not isinstance(backbone, Backbone):
            backbone = Runtime().open(backbone, options={"pooling": pooling} if pooling != "auto" else None)
        elif pooling != "auto":
            raise InvalidArgumentError(
                'pooling is an option of the backbone, which is open already: open it with {"pooling": ...}'
            )
        self.backbone = backbone
        info = backbone.info
        if tokenizer is None and info.architecture != TEXT and backbone.path is not None:
            tokenizer = Tokenizer(backbone.path)
        self._tokenizer = tokenizer
        if cache is None:
            cache = tempfile.mkdtemp(prefix="seamkit-answers-")
            weakref.finalize(self, shutil.rmtree, cache, ignore_errors=True)
        self._cache = cache
        only = info.architecture == ENCODER_ONLY
        self.kind = "causal" if not only else "masked" if info.has_head else "sentences"
        self._asked = 0

    @property
    def query_count(self) -> int:
        return self._asked

    def fitted(self, head: Head, seed: int, texts: Texts, labels: NDArray[Any], **training: Any) -> Any:
        adapter = self._adapter(head, seed)
        with self._classifier(head.task, adapter) as classifier:
            try:
                return adapter, classifier.fit(texts[0], head.names(labels), texts[1], **training)
            finally:
                self._asked += classifier.query_count

    def _adapter(self, head: Head, seed: int = 0) -> Any:
        kind = head.score_kind(self.backbone.info.architecture == TEXT)
        return self.backbone.classifier(
            head.id, head.classes, head.options, seed=seed, score_kind=kind, prompts=head.prompts
        )

    def restored(self, head: Head, values: Mapping[str, NDArray[Any]]) -> Any:
        adapter = self._adapter(head)
        for name, place in adapter.parameters.items():
            place[...] = values[name]
        return adapter

    def values(self, adapter: Any) -> dict[str, NDArray[Any]]:
        return {name: each.copy() for name, each in adapter.parameters.items()}

    def scores(self, adapter: Any, task: Mapping[str, Any], texts: Texts) -> NDArray[Any]:
        with self._classifier(task, adapter) as classifier:
            try:
                return classifier.scores(*texts)
            finally:
                self._asked += classifier.query_count

    def load(self, path: str | Path) -> Any:
        return self.backbone.load(path)

    def save(self, adapter: Any, path: str | Path, notes: str) -> None:
        adapter.save(path, notes=notes)

    def _classifier(self, task: Mapping[str, Any], adapter: Any) -> Classifier:
        classifier = Classifier(self.backbone, task, self._tokenizer, self._cache)
        classifier.attach(adapter)
        return classifier


class TorchEngine:
    """PyTorch: a model of transformers with its tokenizer, on its device."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int, pooling: str):
        from seamkit.torch.classification.kinds import Kind

        self.lock = threading.RLock()
        self._model, self._tokenizer = model, tokenizer
        self._options = {"batch_size": batch_size, "pooling": pooling}
        kind = Kind.of(model)
        self.kind = "sentences" if kind.is_sentence_encoder else "masked" if kind.is_encoder_only else "causal"
        self._classifiers: dict[str, Any] = {}

    @property
    def query_count(self) -> int:
        return sum(each.query_count for each in self._classifiers.values())

    def fitted(self, head: Head, seed: int, texts: Texts, labels: NDArray[Any], **training: Any) -> Any:
        adapter = self._adapter(head, seed)
        losses = self._classifier(head.task, adapter).fit(texts[0], head.names(labels), texts[1], **training)
        return adapter, losses

    def _adapter(self, head: Head, seed: int = 0) -> Any:
        from seamkit.torch import Adapter, Site
        from seamkit.torch.model_folder import source_folder

        adapter = Adapter(
            head.id,
            Site.of(self._model),
            head.options,
            classes=head.classes,
            seed=seed,
            score_kind=head.score_kind(),
            prompts=head.prompts,
        )
        adapter.backbone_path = source_folder(self._model)
        return adapter.to(next(self._model.parameters()).device)

    def restored(self, head: Head, values: Mapping[str, NDArray[Any]]) -> Any:
        import torch

        adapter = self._adapter(head)
        adapter.load_state_dict({name: torch.from_numpy(each) for name, each in values.items()})
        adapter.task = dict(head.task)
        return adapter

    def values(self, adapter: Any) -> dict[str, NDArray[Any]]:
        return {name: each.cpu().numpy().copy() for name, each in adapter.state_dict().items()}

    def scores(self, adapter: Any, task: Mapping[str, Any], texts: Texts) -> NDArray[Any]:
        found: NDArray[Any] = self._classifier(task, adapter).scores(*texts).cpu().numpy()
        return found

    def load(self, path: str | Path) -> Any:
        from seamkit.torch import read_adapter

        return read_adapter(path, self._model).to(next(self._model.parameters()).device)

    def save(self, adapter: Any, path: str | Path, notes: str) -> None:
        adapter.save(path, notes=notes)

    def _classifier(self, task: Mapping[str, Any], adapter: Any) -> Any:
        """One for each task, which keeps the answers."""
        from seamkit.torch import Classifier

        key = json.dumps(dict(task))
        if key not in self._classifiers:
            self._classifiers[key] = Classifier(self._model, self._tokenizer, task, **self._options)
        found = self._classifiers[key]
        found.adapters = [adapter]
        return found
