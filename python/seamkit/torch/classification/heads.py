"""Training adapters on decoder.output, on what a model said of each example."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import IncompatibleError, InvalidArgumentError, NumericError, ShapeError
from seamkit.torch.adapter import Adapter
from seamkit.torch.classification.answers import evaluating

# Examples computed at once where no gradients are wanted.
_CHUNK = 4096
_MOST_EPOCHS = 1 << 24
_LOG = logging.getLogger("seamkit")


@dataclass(frozen=True)
class FitOptions:
    """Names, defaults and meaning are those of seam_fit_options (include/seam/client.h)."""

    epochs: int = 30
    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    max_grad_norm: float = 0.0
    chunk_size: int = 4096
    prepare: bool = True

    def __post_init__(self) -> None:
        rules = {
            # A loss of each is kept.
            "epochs": ("1 or more", self.epochs >= 1)
            if self.epochs < 1
            else (f"at most {_MOST_EPOCHS}", self.epochs <= _MOST_EPOCHS),
            "learning_rate": ("0 or more", 0 <= self.learning_rate < math.inf),
            "beta1": ("in [0, 1)", 0 <= self.beta1 < 1),
            "beta2": ("in [0, 1)", 0 <= self.beta2 < 1),
            "epsilon": ("positive", 0 < self.epsilon < math.inf),
            "max_grad_norm": ("0 or more", 0 <= self.max_grad_norm < math.inf),
            "chunk_size": ("1 or more", self.chunk_size >= 1),
        }
        for name, (expected, holds) in rules.items():
            if not holds:
                raise InvalidArgumentError(f"{name} must be {expected}, found {getattr(self, name)}")


def fit(
    adapters: Sequence[Adapter],
    scores: Tensor,
    hidden: Tensor,
    labels: Tensor | Sequence[int],
    empty_scores: Tensor | None = None,
    options: FitOptions | None = None,
) -> list[float]:
    """Trains adapters on decoder.output, run in their order, by cross-entropy over the classes: full passes over all
    examples, each with one update of Adam. Returns the loss of each epoch, before its update; the native engine's.
    Adapters without a parameter that is trained, such as a calibration, are fitted by `Adapter.prepare` alone; every
    epoch's loss is then the one that this gives.

    scores [examples, classes], hidden [examples, d_model], labels [examples], empty_scores [classes]; where the first
    adapter was made for several prompts [examples, prompts, classes], [examples, prompts, d_model] and
    [prompts, classes]. They are moved to the adapters' device. Parameters without requires_grad stay. After an error every value is as before.

    Raises ShapeError and InvalidArgumentError for what does not fit together, or where there is neither a parameter to
    train nor an adapter that starts from the examples; NumericError for NaN or infinity in the features, naming the
    example, or in training.
    """
    options = options or FitOptions()
    device = _check_adapters(adapters)
    sizes = _Sizes.of(adapters)
    scores, hidden = _checked(sizes, scores, hidden, device)
    target = _checked_labels(labels, scores, sizes.classes, device)
    empty = None if empty_scores is None else _checked_empty(empty_scores, sizes, device)
    is_trained = any(True for _ in _trainable(adapters))
    if not is_trained and not (options.prepare and any(each.starts_from_examples for each in adapters)):
        reason = "or starts from the examples" if options.prepare else "and none is to start from the examples"
        raise InvalidArgumentError(
            f"there is nothing to train: no adapter has a parameter that is not frozen, {reason}"
        )
    before = [{name: value.clone() for name, value in each.state_dict().items()} for each in adapters]
    modes = [each.training for each in adapters]
    try:
        if options.prepare:
            _prepare(adapters, scores, hidden, target, empty)
        for each in adapters:
            each.train()
        if not is_trained:
            return [_loss(adapters, scores, hidden, target, options.chunk_size)] * options.epochs
        return _trained(adapters, scores, hidden, target, options)
    except BaseException:
        for each, values in zip(adapters, before, strict=True):
            each.load_state_dict(values)
        raise
    finally:
        for each, mode in zip(adapters, modes, strict=True):
            each.train(mode)


@torch.no_grad()
def class_scores(adapters: Sequence[Adapter], scores: Tensor, hidden: Tensor) -> Tensor:
    """What adapters on decoder.output, run in their order, give to each class: [examples, classes], on their device.
    scores and hidden are as for `fit`."""
    device = _check_adapters(adapters)
    scores, hidden = _checked(_Sizes.of(adapters), scores, hidden, device)
    parts = zip(torch.split(scores, _CHUNK), torch.split(hidden, _CHUNK), strict=True)
    with contextlib.ExitStack() as modes:
        for each in adapters:
            modes.enter_context(evaluating(each))
        return torch.cat([_run(adapters, *part) for part in parts])


def _run(adapters: Sequence[Adapter], scores: Tensor, hidden: Tensor) -> Tensor:
    for each in adapters:
        scores, hidden = each(scores, hidden), _mean_over_prompts(hidden)
    return scores


def _mean_over_prompts(x: Tensor) -> Tensor:
    """x [examples, prompts, width] as an adapter behind the first reads it, [examples, width]."""
    return x.mean(1) if x.dim() == 3 else x


def _prepare(adapters: Sequence[Adapter], scores: Tensor, hidden: Tensor, labels: Tensor, empty: Tensor | None) -> None:
    """Each sees what the ones before make of the scores; an empty text's are the model's, so the first's alone."""
    for index, each in enumerate(adapters):
        each.prepare(scores, hidden, labels=labels, empty_scores=None if index or empty is None else empty[None])
        if index + 1 < len(adapters):
            scores, hidden = class_scores([each], scores, hidden), _mean_over_prompts(hidden)


def _trained(
    adapters: Sequence[Adapter], scores: Tensor, hidden: Tensor, labels: Tensor, options: FitOptions
) -> list[float]:
    named = list(_trainable(adapters))
    parameters = [each for _, each in named]
    optimizer = torch.optim.Adam(parameters, options.learning_rate, (options.beta1, options.beta2), options.epsilon)
    losses = []
    for epoch in range(1, options.epochs + 1):
        optimizer.zero_grad()
        loss = 0.0
        for part in zip(*(torch.split(each, options.chunk_size) for each in (scores, hidden, labels)), strict=True):
            summed = torch.nn.functional.cross_entropy(_run(adapters, *part[:2]), part[2], reduction="sum")
            if not summed.requires_grad:
                names = ", ".join(f'adapter "{each.id}"' for each in adapters)
                raise InvalidArgumentError(
                    f"the loss reaches no trained parameter of {names}: a training would change nothing"
                )
            (summed / len(labels)).backward()  # type: ignore[no-untyped-call]
            loss += summed.item()
        losses.append(loss / len(labels))
        if epoch == 1:
            _warn_of_unreached(adapters)
        if not math.isfinite(loss):
            raise NumericError(f"the loss of epoch {epoch} is {loss}; the learning rate may be too high")
        if options.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(parameters, options.max_grad_norm)
        try:
            optimizer.step()
        except RuntimeError as error:  # torch's, of a step that no f32 holds
            raise NumericError(
                f"the update of epoch {epoch} failed, the learning rate may be too high: {error}"
            ) from error
        for name, each in named:
            if not torch.isfinite(each).all():
                raise NumericError(
                    f'parameter "{name}" is no longer finite after epoch {epoch}; the learning rate may be too high'
                )
    optimizer.zero_grad()
    return losses


@torch.no_grad()
def _loss(adapters: Sequence[Adapter], scores: Tensor, hidden: Tensor, labels: Tensor, chunk: int) -> float:
    """The mean loss of the adapters as they are."""
    parts = zip(*(torch.split(each, chunk) for each in (scores, hidden, labels)), strict=True)
    loss = sum(
        torch.nn.functional.cross_entropy(_run(adapters, *part[:2]), part[2], reduction="sum").item() for part in parts
    )
    if not math.isfinite(loss):
        raise NumericError(f"the loss of the prepared adapters is {loss}")
    return loss / len(labels)


def _warn_of_unreached(adapters: Sequence[Adapter]) -> None:
    """Of trained parameters that the first loss did not reach: saved as trained, they would be what they were."""
    for adapter in adapters:
        names = [f'"{name}"' for name, each in _trainable([adapter]) if each.grad is None]
        if names:
            more = f", and {len(names) - 10} more" if len(names) > 10 else ""
            _LOG.warning(
                'adapter "%s": the loss of epoch 1 does not reach the trained parameter%s %s%s, which %s not updated',
                adapter.id,
                "s" if len(names) > 1 else "",
                ", ".join(names[:10]),
                more,
                "are" if len(names) > 1 else "is",
            )


def _trainable(adapters: Sequence[Adapter]) -> Iterator[tuple[str, Tensor]]:
    for adapter in adapters:
        yield from ((name, each) for name, each in adapter.named_parameters() if each.requires_grad)


# ---- Checks, in the sentences of the native engine


@dataclass(frozen=True)
class _Sizes:
    """What adapters on decoder.output read. prompts: about each text, of the first adapter. width: d_model."""

    classes: int
    prompts: int
    width: int

    @staticmethod
    def of(adapters: Sequence[Adapter]) -> _Sizes:
        return _Sizes(adapters[0].classes, adapters[0].prompts, adapters[0].site.d_model)

    def row(self, columns: int) -> list[int]:
        """The shape of so many numbers of each prompt of an example."""
        return [columns] if self.prompts == 1 else [self.prompts, columns]


def _check_adapters(adapters: Sequence[Adapter]) -> torch.device:
    if not adapters:
        raise InvalidArgumentError("there is no adapter")
    first = adapters[0]
    for index, each in enumerate(adapters):
        if each.seam != c.SEAM_DECODER_OUTPUT:
            raise InvalidArgumentError(f'adapter "{each.id}" is on {each.seam}, not on decoder.output')
        if (each.classes, each.site.d_model) != (first.classes, first.site.d_model):
            raise IncompatibleError(
                f"adapter {index} was made for {each.classes} classes and d_model {each.site.d_model}, the first one "
                f"for {first.classes} and {first.site.d_model}"
            )
        if index and each.prompts > 1:
            raise IncompatibleError(
                f"adapter {index} was made for {each.prompts} prompts, and behind the first adapter there is one"
            )
        if any(each is other for other in adapters[:index]):
            raise InvalidArgumentError(f'adapter "{each.id}" is given twice')
    return next((each.device for adapter in adapters for each in adapter.state_dict().values()), torch.device("cpu"))


def _checked(sizes: _Sizes, scores: Tensor, hidden: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    row = sizes.row(sizes.classes)
    if not scores.dim() or list(scores.shape[1:]) != row:
        raise ShapeError(f"scores must be [examples, {str(row)[1:]}, found {list(scores.shape)}")
    wanted = [len(scores), *sizes.row(sizes.width)]
    if list(hidden.shape) != wanted:
        raise ShapeError(f"hidden must be {wanted}, found {list(hidden.shape)}")
    if not len(scores):
        raise InvalidArgumentError("there are no examples")
    for name, each in (("scores", scores), ("hidden", hidden)):
        bad = (~torch.isfinite(each)).nonzero()
        if len(bad):
            example, *prompt, column = bad[0].tolist()
            where = f"column {column} of prompt {prompt[0]}" if prompt else f"column {column}"
            raise NumericError(f"{name} of example {example} must be finite, found NaN or infinity at {where}")
    return scores.to(device, torch.float32), hidden.to(device, torch.float32)


def _checked_labels(labels: Tensor | Sequence[int], scores: Tensor, classes: int, device: torch.device) -> Tensor:
    found = torch.as_tensor(labels, device=device)
    if list(found.shape) != [len(scores)]:
        raise ShapeError(f"labels must hold a class for each of the {len(scores)} examples, found {list(found.shape)}")
    if found.is_floating_point() or found.dtype == torch.bool:
        raise ShapeError(f"labels must be integers, found {found.dtype}")
    for index, label in enumerate(found.tolist()):
        if not 0 <= label < classes:
            raise InvalidArgumentError(f"the label of example {index} must be 0 ... {classes - 1}, found {label}")
    missing = sorted(set(range(classes)) - set(found.tolist()))
    if missing:
        raise InvalidArgumentError(f"every class needs an example, and class {missing[0]} has none")
    return found.long()


def _checked_empty(empty_scores: Tensor, sizes: _Sizes, device: torch.device) -> Tensor:
    count = sizes.prompts * sizes.classes
    if empty_scores.numel() != count:
        raise ShapeError(f"the scores of an empty text must be {count} numbers, found {empty_scores.numel()}")
    if not torch.isfinite(empty_scores).all():
        raise NumericError("the scores of an empty text must be finite, found NaN or infinity")
    return empty_scores.reshape(sizes.row(sizes.classes)).to(device, torch.float32)
