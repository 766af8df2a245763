"""Adapters that start from examples, in a model of transformers: what flows into their seams is recorded where it flows.

A recorder stands in the place of the adapter, behind those that are attached before it, and passes on what it records. Keys
and values of a text come from a cache that the model fills.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from seamkit import _declarations as c
from seamkit._native import Progress
from seamkit._native.progress import Watch
from seamkit.errors import CancelledError, InvalidArgumentError, NotFoundError
from seamkit.point import DECODER
from seamkit.torch import prefixes
from seamkit.torch.adapter import Adapter
from seamkit.torch.attachment import attached, running
from seamkit.torch.calls import bound, replace, spelled
from seamkit.torch.families import attention_of, past_module
from seamkit.torch.joined import Joined
from seamkit.torch.names import DECODER_EMBEDDED, DECODER_IDS, IS_ENCODER_DECODER, LABELS, MASK, PAST, USES_CACHE
from seamkit.torch.past import of_text
from seamkit.torch.seams import ATTENTIONS
from seamkit.torch.site import Site
from seamkit.torch.visit import Flowing, Visit

# Bytes of what flows at points that are recorded together; for the others the model reads the examples again.
RECORDED_AT_ONCE = 1 << 30
_ENCODER = ATTENTIONS.index("encoder")
# What a decoder reads, so that an encoder-decoder needs no other target.
_TARGETS = (DECODER_IDS, DECODER_EMBEDDED, LABELS)
Examples = Mapping[str, Any]


def prepare(
    model: torch.nn.Module,
    adapter: Adapter,
    batches: Examples | Sequence[Examples] = (),
    *,
    labels: Any = None,
    progress: Watch | None = None,
) -> None:
    """Lets an attached adapter start from examples, once, before a training or in the place of one, as `Session.prepare`
    does natively: the model reads them, in evaluation and without gradients, through the adapters that are attached before
    it; those behind it do not run. Nothing happens to one that starts from nothing.

    batches: the examples, one mapping of the model's arguments (input_ids, attention_mask ...) or several. Inside the
    decoder of an encoder-decoder they need targets, labels or decoder_input_ids. For an adapter on attention.prefix one of
    one row without padding, the text; none for one on prefix.tokens. labels: the class of each example, integers from 0 on.
    progress: told how many batches are read; False raises CancelledError. The call is not for several threads.

    Raises NotFoundError for an adapter that is not attached, InvalidArgumentError for examples and classes that are not
    those of its seam, UnsupportedError where a quantised matrix would have to be read, and what the plugin fails with; the
    adapter is as before then.
    """
    chain = attached(model)
    position = next((index for index, each in enumerate(chain) if each is adapter), None)
    if position is None:
        named = f'adapter "{adapter.id}"' if isinstance(adapter, Adapter) else f"{adapter!r}"
        raise NotFoundError(f"{named} is not attached; prepare takes what attach returned")
    if not adapter.starts_from_examples:
        return
    given = [batches] if isinstance(batches, Mapping) else list(batches)
    for each in given:
        if not isinstance(each, Mapping) or not any(isinstance(value, Tensor) for value in each.values()):
            raise InvalidArgumentError(
                "batches must be mappings with tensors, the model's arguments by their names, such as input_ids, found "
                f"{type(each).__name__}"
            )
        _check_mask(MASK.value(each))
    run = _Preparation(model, adapter, chain[:position], given, progress)
    with torch.no_grad(), _evaluating(model):
        adapter.start_from(run.flowing(), labels)


def _check_mask(mask: Any) -> None:
    if isinstance(mask, Tensor) and mask.dim() == 2 and bool((is_hidden := ~mask.bool().any(1)).any()):
        raise InvalidArgumentError(f"{MASK} hides every token of row {int(is_hidden.nonzero()[0])}")


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """While it lasts, no module is in training."""
    training = [each for each in model.modules() if each.training]
    model.eval()
    try:
        yield
    finally:
        for each in training:
            each.training = True


@dataclass
class _Preparation:
    """One call of `prepare`. before: the adapters that run in front of the one that is prepared."""

    model: Any
    adapter: Adapter
    before: list[Adapter]
    batches: list[Examples]
    progress: Watch | None

    @property
    def _name(self) -> str:
        return f'adapter "{self.adapter.id}"'

    def flowing(self) -> Iterator[Flowing]:
        """What the plugin is given, call by call."""
        rows = sum(_rows(each) for each in self.batches)
        if self.adapter.seam == c.SEAM_PREFIX_TOKENS:
            if rows:
                raise InvalidArgumentError(
                    f"{self._name} is on {self.adapter.seam} and starts from the prefix before it: there must be no "
                    f"examples, found {rows}"
                )
            layers = [each for attention in prefixes.computed(self.before) for each in attention]
            return iter([Flowing(-1, layers or [None] * sum(self.adapter.site.prefix_layers))])
        if self.adapter.seam == c.SEAM_ATTENTION_PREFIX:
            if rows != 1:
                raise InvalidArgumentError(
                    f"{self._name} is on {self.adapter.seam} and starts from the keys and values of one text, found {rows}"
                )
            mask = MASK.value(self.batches[0])
            if isinstance(mask, Tensor) and not bool(mask.all()):
                raise InvalidArgumentError(
                    f"{self._name} starts from the keys and values of a text: it must be without padding"
                )
            return self._keys_values()
        if not rows:
            raise InvalidArgumentError(f"{self._name} starts from examples, and there are none")
        return self._recorded(rows)

    # ---- What flows at a place

    def _recorded(self, rows: int) -> Iterator[Flowing]:
        stray = next((each for each in self.adapter.points if each.stack == DECODER), None)
        if stray is not None and not all(self._has_target(each) for each in self.batches):
            raise InvalidArgumentError(
                f'{self._name} is inside the decoder, at "{stray}": the examples need targets, labels or decoder_input_ids'
            )
        groups = self._groups(rows)
        done, total = 0, len(groups) * len(self.batches)
        self._tell(done, total)
        for group in groups:
            recorder = _Recorder(self.adapter, group)
            with running(self.model, [*self.before, recorder]):
                for batch in self.batches:
                    recorder.is_on = True
                    self._run(batch)
                    recorder.is_on = False
                    done += 1
                    self._tell(done, total)
            for place in group:
                yield recorder.taken(place)

    def _groups(self, rows: int) -> list[list[int]]:
        """The adapter's points, in their order, cut where what flows at them is more than is kept at once."""
        if not self.adapter.points:
            return [[-1]]
        sizes = (value.shape[1] for each in self.batches for value in each.values() if _is_rows(value))
        longest = max(sizes, default=1)
        groups: list[list[int]] = []
        held = 0
        for place, point in enumerate(self.adapter.points):
            width = point.output_width + (point.input_width if self.adapter.seam == c.SEAM_PROJECTION else 0)
            size = 4 * rows * longest * width
            if not groups or held + size > RECORDED_AT_ONCE:
                groups.append([])
                held = 0
            groups[-1].append(place)
            held += size
        return groups

    def _has_target(self, batch: Examples) -> bool:
        is_pair = bool(IS_ENCODER_DECODER.field(self.model.config))
        return not is_pair or any(each.value(batch) is not None for each in _TARGETS)

    def _run(self, batch: Examples) -> None:
        device = next((each.device for each in self.model.parameters() if each.device.type != "meta"), None)
        call = {name: each.to(device) if isinstance(each, Tensor) else each for name, each in batch.items()}
        if not self._has_target(batch):
            # The decoder has to run, and what it says is not looked at.
            start = Site.of(self.model).vocabulary.decoder_start_token_id
            if start < 0:
                raise InvalidArgumentError(
                    "the model names no decoder_start_token_id, so the examples need targets, labels or decoder_input_ids"
                )
            call[DECODER_IDS.spellings[0]] = torch.full((_rows(batch), 1), start, device=device)
        self.model(**call)

    def _tell(self, done: int, total: int) -> None:
        if self.progress is None or self.progress(Progress("prepare", done, total, math.nan, [])) is not False:
            return
        raise CancelledError(f"the preparation was stopped after {done} of {total} batches")

    # ---- Keys and values

    def _keys_values(self) -> Iterator[Flowing]:
        self._tell(0, 1)
        module, is_pair = past_module(self.model), bool(IS_ENCODER_DECODER.field(self.model.config))
        past: Any = EncoderDecoderCache(DynamicCache(), DynamicCache()) if is_pair else DynamicCache()

        def fill(module: torch.nn.Module, args: Any, kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
            call = bound(module, args, kwargs)
            replace(module, call, PAST, past)
            if spelled(type(module), USES_CACHE) is not None:
                replace(module, call, USES_CACHE, True)
            return (), call

        site = self.adapter.site
        recorded = _RecordedKeys(site.prefix_layers[_ENCODER])
        with running(self.model, self.before), _recording(self.model, self.adapter, recorded if is_pair else None):
            # Before the hooks of a prefix, which goes into the same cache.
            handle = module.register_forward_pre_hook(fill, with_kwargs=True, prepend=True)
            try:
                self._run(self.batches[0])
            finally:
                handle.remove()
        self._tell(1, 1)
        found: dict[str, Sequence[Tensor | None]] = {}
        if self._has_target(self.batches[0]):
            found[attention_of(site)] = of_text(past)
        if is_pair:
            found["encoder"] = recorded.layers
            found["cross"] = of_text(past.cross_attention_cache)
        layers: list[Tensor | None] = []
        for name, count in zip(ATTENTIONS, site.prefix_layers, strict=True):
            layers += found.get(name) or [None] * count
        yield Flowing(-1, layers)


class _RecordedKeys:
    """The keys and values of a text of one row in an attention that knows no past, of each layer [2, kv_heads, n, head_dim]."""

    def __init__(self, layers: int):
        self.layers: list[Tensor | None] = [None] * layers

    def prefix(self, attention: int, layer: int) -> None:
        """As `joined.Source`: none of its own."""

    def saw(self, attention: int, layer: int, keys: Tensor, values: Tensor) -> None:
        """As `joined.Source`."""
        self.layers[layer] = torch.stack([keys[0], values[0]])


@contextmanager
def _recording(model: Any, adapter: Adapter, recorded: _RecordedKeys | None) -> Iterator[None]:
    """While it lasts, the encoder of a pair tells its keys and values, where the adapter has a prefix there."""
    if recorded is None or not prefixes.lengths([adapter])[_ENCODER]:
        yield
        return
    modules = prefixes.joined_attentions(model, adapter.site, _ENCODER)
    joined = Joined(recorded, {_ENCODER: modules})
    try:
        yield
    finally:
        joined.remove()


class _Recorder:
    """In the place of an adapter: keeps what flows at some of its points, or into its seam (-1), and passes it on."""

    def __init__(self, adapter: Adapter, places: Sequence[int]):
        self.seam, self.id, self.factory = adapter.seam, adapter.id, adapter.factory
        self._places = list(places)
        self.points = tuple(adapter.points[each] for each in places) if adapter.points else ()
        self.phases = [c.SEAM_PHASE_AFTER] * len(self.points)
        self.is_on = False
        self._flows: dict[int, list[Flowing]] = {each: [] for each in places}

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """None: where an adapter's lie does not matter here."""
        return iter(())

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        self._keep(0, [hidden, mask])
        return hidden

    def visit(self, visit: Visit, *inputs: Tensor | None) -> Tensor | None:
        """As `Adapter.visit`."""
        if visit.quantised is not None:
            raise visit.quantised.refusal(self.id, str(self.points[visit.point]), self.factory.plugin.id)
        self._keep(visit.point, inputs, visit.mask, visit.generated)
        return inputs[-1]

    def prompt(self, visit: Visit, x: Tensor, mask: Tensor) -> tuple[None, Tensor]:
        """As `Adapter.prompt`."""
        self._keep(visit.point, [x, mask], mask)
        return None, x

    def _keep(
        self, index: int, inputs: Sequence[Tensor | None], mask: Tensor | None = None, generated: Tensor | None = None
    ) -> None:
        if not self.is_on:
            return
        # The matrix and the bias of a projection are the model's own and stay as they are.
        is_flow = [self.seam != c.SEAM_PROJECTION or place in (0, 3) for place in range(len(inputs))]
        kept = [_copied(each) if own else each for each, own in zip(inputs, is_flow, strict=True)]
        place = self._places[index]
        self._flows[place].append(Flowing(place, kept, _copied(mask), _copied(generated)))

    def taken(self, place: int) -> Flowing:
        """All that was recorded at a place, which is then forgotten."""
        own = self._flows.pop(place)
        is_projection = self.seam == c.SEAM_PROJECTION
        inputs = [
            parts[-1] if is_projection and index in (1, 2) else _joined(parts)
            for index, parts in enumerate(zip(*[each.inputs for each in own], strict=True))
        ]
        if place >= 0:
            states = [each.inputs[0] for each in own]
            masks = [
                torch.ones(state.shape[:2], dtype=torch.int32) if each.mask is None else each.mask
                for state, each in zip(states, own, strict=True)
                if state is not None
            ]
            return Flowing(place, inputs, _joined(masks), _joined([each.generated for each in own]))
        return Flowing(place, inputs)


def _is_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 1


def _rows(batch: Examples) -> int:
    return next((len(each) for each in batch.values() if _is_rows(each)), 0)


def _copied(tensor: Tensor | None) -> Tensor | None:
    """As libSeam reads it, in memory of its own."""
    if tensor is None:
        return None
    return tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else torch.int32, copy=True)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The rows of several batches behind each other, shorter ones filled with 0 at their end; None where one is missing."""
    there = [each for each in parts if each is not None]
    if len(there) < len(parts):
        return None
    length = max(each.shape[1] for each in there)
    result = there[0].new_zeros(sum(map(len, there)), length, *there[0].shape[2:])
    first = 0
    for each in there:
        result[first : first + len(each), : each.shape[1]] = each
        first += len(each)
    return result
