"""An adapter of a plugin as a torch module."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import seamkit
from seamkit import _declarations as c
from seamkit._native import Adapter as NativeAdapter
from seamkit._native.described import DescribedModel, forward
from seamkit.errors import InvalidArgumentError, SeamError, ShapeError
from seamkit.torch import plugins, seams
from seamkit.torch.arguments import check_kinds, json_options, on_host
from seamkit.torch.checks import HALF
from seamkit.torch.parameters import Place
from seamkit.torch.passes import Pass, Trace
from seamkit.torch.plugins import factory
from seamkit.torch.site import NO_PREFIX, Site
from seamkit.torch.table import OPS
from seamkit.torch.visit import Flowing, Visit
from seamkit.torch.writing import save

if TYPE_CHECKING:
    from pathlib import Path


# Traces kept by input shapes; batches of many lengths push out the oldest.
MAX_TRACES = 64


class Adapter(torch.nn.Module):
    """Runs a plugin's forward inside autograd, on the device of its inputs.

    The first call for some shapes runs the plugin, whose operations call torch; it is kept as a graph of torch
    operations, which later calls for these shapes run without the plugin. f32 computes; inputs in half precision are
    widened and the outputs narrowed again. The keys of its state dict are the parameters' names in a saved folder.

    id: of the adapter ("repcali"). site: where it is attached (`Site.of(model)`). seam: None for the adapter's first.
    options: by the declared names. backbone_frozen: False when the model is trained with it. classes: for
    decoder.output. prefix_length: for seams of prefixes, tokens of what enters, by attention. seed: of the initial
    values, which are those of the native engine. score_kind: what the scores of decoder.output are, "logits",
    "log_probabilities", "probabilities" or "similarities", for adapters that compute with them otherwise. prompts: about
    each text, for decoder.output; several only of an adapter that reads them. points: of a seam inside the layers, those
    to sit on ("decoder.0.q"), in place of the options "layers", "targets" and "stack".

    Raises NotFoundError for an unknown id, InvalidArgumentError for wrong options, UnsupportedError where the model has
    no such seam or the adapter reads one prompt, and what the plugin fails with.

    Threads may share one: the plugin itself is called by one at a time.
    """

    def __init__(
        self,
        id: str,
        site: Site,
        options: Mapping[str, Any] | None = None,
        *,
        seam: str | None = None,
        backbone_frozen: bool = True,
        classes: int = 0,
        prefix_length: tuple[int, int, int] = NO_PREFIX,
        seed: int = 0,
        score_kind: str = "unknown",
        prompts: int = 1,
        points: Sequence[str] | None = None,
    ):
        super().__init__()
        check_kinds(site, options, classes, seed, seam, points)
        if len(tuple(prefix_length) if isinstance(prefix_length, Sequence) else ()) != 3:
            raise InvalidArgumentError(f"prefix_length must be three numbers of tokens, found {prefix_length!r}")
        made = factory(id)
        given = json_options(made, options or {})
        with plugins.lock, DescribedModel(plugins.runtime(), site.info()) as model:
            native = model.adapter(
                id,
                given,
                seam=seam,
                frozen=backbone_frozen,
                classes=classes,
                prefix_length=prefix_length,
                points=points,
                score_kind=score_kind,
                prompts=prompts,
                seed=seed,
            )
        self._take(native, site)

    @classmethod
    def _of(cls, native: NativeAdapter, site: Site) -> Adapter:
        """The module of an adapter that libSeam has made or read."""
        made = cls.__new__(cls)
        torch.nn.Module.__init__(made)
        made._take(native, site)
        return made

    def _take(self, native: NativeAdapter, site: Site) -> None:
        described = native.describe()
        self.site, self._native, self.factory = site, native, factory(described["id"])
        self.seam, self.options, self.classes = described["seam"], described["options"], described["classes"]
        self.prompts: int = described["prompts"]
        # The axis of prompts in the shape of what flows in, also of one; empty where there is none.
        reads_prompts = self.seam == c.SEAM_DECODER_OUTPUT and self.factory.reads_prompts
        self.prompt_axis: list[int] = [self.prompts] if reads_prompts else []
        self.score_kind, self.backbone_frozen = described["score_kind"], not described["trains_backbone"]
        self.prefix_length: tuple[int, int, int] = tuple(described["prefix_length"])
        # Of a seam inside the layers, those that it sits on, and when the plugin wants them.
        known = {str(each): each for each in site.points}
        self.points, self.phases = tuple(known[each] for each in described["points"]), described["phases"]
        self.starts_from_examples: bool = described["starts_from_examples"]
        self._is_foldable: bool = described["foldable"]
        # What a layer above keeps with a saved adapter, carried along as it is.
        self.task: dict[str, Any] | None = native.task
        # The model's folder, for the fingerprint of its weights; set when it is attached or loaded.
        self.backbone_path: Path | None = None
        self._traces: OrderedDict[Any, Trace] = OrderedDict()
        # Calls on one instance of a plugin never overlap; traces may, in as many threads as share a model.
        self._plugin = threading.RLock()
        views = native.parameters
        origin = self.factory.plugin.id
        self._places = [Place(self, each, views[each["name"]], origin) for each in described["parameters"]]
        # The shared ones, then a point's own.
        shared = [each for each in self._places if each.point < 0]
        self._of_point = [
            [*shared, *(each for each in self._places if each.point == index)] for index in range(len(self.points))
        ]

    @property
    def id(self) -> str:
        """The name under which the plugin offers it: "repcali"."""
        return self.factory.id

    def extra_repr(self) -> str:
        """What `print(model)` shows of it."""
        return f"{self.id!r} on {self.seam}, plugin {self.factory.plugin.id} {self.factory.plugin.version}"

    # ---- Running

    def forward(self, *inputs: Tensor | None) -> Any:
        """What leaves the seam, for what flows into it (include/seam/plugin.h): encoder.output takes hidden
        [batch, source, d_model] and a mask [batch, source] and gives the hidden states; decoder.output takes scores
        [batch, classes] and hidden [batch, d_model], of several prompts [batch, prompts, classes] and
        [batch, prompts, d_model], and gives the scores [batch, classes]; the seams of prefixes take and give one
        prefix for each layer of the encoder's attention, of the decoder's and of cross-attention, as many as the site's
        prefix_layers say, [2, kv_heads, prefix, head_dim] or None; without inputs nothing is before theirs. Masks are
        integers.

        Raises ShapeError for inputs that are not those of the seam, PluginError and what else the plugin fails with.
        """
        if self.points:
            raise ShapeError(f'adapter "{self.id}" is on {self.seam}, at several points: it is run with visit')
        outputs = self._run(self._with_prompt_axis(inputs) or (None,) * seams.prefix_count(self.seam, self.site))
        wanted = next((each.dtype for each in inputs if each is not None and each.is_floating_point()), None)
        if wanted is not None:
            outputs = [None if each is None else each.to(wanted) for each in outputs]
        return tuple(outputs) if seams.is_prefix(self.seam) else outputs[0]

    def _with_prompt_axis(self, inputs: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """The inputs as the plugin reads them: the answers to one prompt are given with the axis of prompts or without."""
        if self.prompt_axis != [1]:
            return inputs
        return [each.unsqueeze(1) if isinstance(each, Tensor) and each.dim() == 2 else each for each in inputs]

    def visit(self, visit: Visit, *inputs: Tensor | None) -> Tensor:
        """What goes on at a point inside the layers, for what flows there: at layer.output hidden [batch, n, d_model]; at
        projection x [batch, n, in], weight [out, in] (None with `Visit.quantised`), bias [out] or None and, after the product, y [batch, n, out]. Of the
        shape of the last one that flows: hidden, x before the product, y after it.

        Raises as `forward` does.
        """
        [found] = self._run(inputs, visit)
        place = 3 if self.seam == c.SEAM_PROJECTION and not visit.is_before else 0
        value = inputs[place]
        assert found is not None and value is not None  # seam_adapter_forward has seen to it
        return found.to(value.dtype)

    def prompt(self, visit: Visit, x: Tensor, mask: Tensor) -> tuple[Tensor | None, Tensor]:
        """What goes on at a point of prompt.embedding, for embedded tokens x [batch, n, d_model] and their mask [batch, n]:
        the vectors [1 or batch, prompt, d_model] that are put before them, None for none, and x itself, changed or as it is.

        Raises as `forward` does.
        """
        vectors, changed = self._run((x, mask), visit)
        return None if vectors is None else vectors.to(x.dtype), x if changed is None else changed.to(x.dtype)

    def _run(self, inputs: Sequence[Tensor | None], visit: Visit | None = None) -> Sequence[Tensor | None]:
        seams.check_tensors(self.id, self.seam, self.site, inputs, self.factory.plugin.id)
        places = self._places if visit is None else self._of_point[visit.point]
        parameters = [each.tensor for each in places]
        real = _real(inputs, parameters)
        # The matrix of a projection stays as it is stored: what computes with it widens it.
        values = [
            None
            if each is None
            else each
            if self.seam == c.SEAM_PROJECTION and index in (1, 2) and each.dtype in HALF
            else _operand(each, real)
            for index, each in enumerate(inputs)
        ]
        weights = [each if each.dtype == real else each.to(real) for each in parameters]
        device = self._device(places, weights, values)
        tokens = (
            []
            if visit is None
            else [
                None if each is None else _operand(each, real)
                for each in (visit.mask, visit.positions, visit.generated)
            ]
        )
        flowing = [*values, *tokens]
        place = None if visit is None else (visit.point, visit.phase, visit.quantised)
        key = (
            self.training,
            real,
            device,
            place,
            *(None if each is None else (each.shape, each.dtype) for each in flowing),
        )
        trace = self._traces.get(key)
        if trace is not None:
            outputs: Sequence[Tensor | None] = trace(*weights, *[each for each in flowing if each is not None])
            return outputs
        outputs, trace = self._record(device, real, weights, values, visit, tokens)
        if trace is not None:
            with self._plugin:
                self._traces[key] = trace
                if len(self._traces) > MAX_TRACES * max(len(self.points), 1):
                    self._traces.popitem(last=False)
        return outputs

    def _device(
        self, places: Sequence[Place], weights: Sequence[Tensor], values: Sequence[Tensor | None]
    ) -> torch.device:
        """The one that all tensors are on."""
        devices = [each.device for each in [*values, *weights] if each is not None]
        if not devices:
            return torch.device("cpu")
        if any(each != devices[0] for each in devices):
            names = [*seams.input_names(self.seam, self.site)[: len(values)], *(each.name for each in places)]
            given = [
                (name, each.device) for name, each in zip(names, [*values, *weights], strict=True) if each is not None
            ]
            name, other = next(each for each in given if each[1] != devices[0])
            raise InvalidArgumentError(
                f'adapter "{self.id}" takes tensors on one device, found "{given[0][0]}" on {devices[0]} and "{name}" '
                f"on {other}",
                self.factory.plugin.id,
            )
        return devices[0]

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _record(
        self,
        device: torch.device,
        real: torch.dtype,
        weights: list[Tensor],
        values: list[Tensor | None],
        visit: Visit | None = None,
        tokens: Sequence[Tensor | None] = (),
    ) -> tuple[list[Tensor | None], Trace | None]:
        """Runs the plugin, and keeps what it computed."""
        count = seams.output_count(self.seam, self.site)
        pass_ = Pass(device, real, self.factory.plugin.id, record=True, training=self.training)
        try:
            frame = self._frame(
                pass_, [pass_.placeholder(f"parameter_{index}", each) for index, each in enumerate(weights)]
            )
            frame.training = int(self.training)
            inputs = _placed(pass_, "input", values)
            if visit is not None and visit.quantised is not None:
                point = self.points[visit.point]
                refusal = visit.quantised.refusal(self.id, str(point), self.factory.plugin.id)
                inputs[c.SEAM_PROJECTION_WEIGHT] = pass_.refused(refusal, [point.output_width, point.input_width])
            if visit is not None:
                frame.attention_mask, frame.position_ids, frame.generated_mask = _placed(pass_, "tokens", tokens)
            io = c.seam_forward(
                struct_size=ctypes.sizeof(c.seam_forward),
                point=-1 if visit is None else visit.point,
                phase=0 if visit is None else visit.phase,
                inputs=_array(inputs),
                input_count=len(inputs),
                outputs=_array([None] * count),
                output_count=count,
            )
            try:
                with self._plugin:
                    forward(self._native, frame, io)
            except SeamError:
                # What an operation failed with says more.
                pass_.check()
                raise
            pass_.check()
            handles = list(io.outputs[:count])
            outputs = [None if each is None else pass_.tensor(each) for each in handles]
            return outputs, pass_.trace(handles)
        finally:
            pass_.close()

    @staticmethod
    def _frame(pass_: Pass, parameters: Sequence[int]) -> c.seam_pass:
        """A pass as plugins read it, with the handles of the parameters."""
        return c.seam_pass(
            struct_size=ctypes.sizeof(c.seam_pass),
            ctx=pass_.handle,
            ops=OPS,
            parameters=_array(parameters),
            parameter_count=len(parameters),
        )

    # ---- What a plugin offers beside its forward

    def call(self, method: str, *arguments: Any) -> Any:
        """A method of the plugin's own (int, float, str and tensors in; None, int, float, str or a tensor out). libSeam
        computes it in f32 on the values as they are: no gradient flows through it.

        Raises NotFoundError for an unknown method, with those there are, InvalidArgumentError for other arguments.
        """
        given = [on_host(each) if isinstance(each, Tensor) else each for each in arguments]
        with self._plugin:
            self._write_back("called")
            found = self._native.call(method, *given)
        if found is None or isinstance(found, int | float | str):
            return found
        _, real, device = self._weights()
        result = torch.from_numpy(found)
        return result.to(device, real if result.is_floating_point() else None)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # Not before the parameters are there: torch refuses names that an attribute has.
            if "_places" in self.__dict__ and name in self.factory.methods:
                return functools.partial(self.call, name)
            raise

    def prepare(self, *inputs: Tensor, labels: Tensor | None = None, empty_scores: Tensor | None = None) -> None:
        """Lets the adapter start from all training examples, once, before the first step: DecT's radii are distances
        of these. An adapter that starts from nothing is left as it is. All values are taken or, after an error, none.
        libSeam computes it in f32.

        inputs: as for `forward`. labels [examples]: classes. empty_scores [1, classes], of several prompts
        [1, prompts, classes]: those of an empty text.

        Raises ShapeError for other inputs, NumericError for values that are not finite, and what the plugin fails with.
        """
        if not self.starts_from_examples:
            return
        [empty] = self._with_prompt_axis([empty_scores])
        extra = {
            name: None if each is None else on_host(each)
            for name, each in (("labels", labels), ("empty_scores", empty))
        }
        given = [on_host(each) for each in self._with_prompt_axis(inputs) if each is not None]
        with self._plugin:
            self._write_back("prepared")
            self._native.prepare(*given, **extra)
            for place in self._places:
                place.fetch()

    def start_from(self, calls: Iterable[Flowing], labels: Any = None) -> None:
        """Lets the adapter start from what flows into its seam, at several points by a call for each, in their order; the
        values are taken after the last, all or, after an error, none. `seamkit.torch.prepare` makes the calls of a model.

        labels [examples]: classes, integers.

        Raises ShapeError for other inputs, InvalidArgumentError for classes of which one has no example, NumericError for
        values that are not finite, and what the plugin fails with.
        """
        masks = ("attention_mask", "generated_mask")
        classes = on_host(labels) if isinstance(labels, Tensor) else labels
        with self._plugin:
            self._write_back("prepared")
            for each in calls:
                own = zip(masks, (each.mask, each.generated), strict=True)
                self._native.prepare_at(
                    each.point,
                    [None if tensor is None else on_host(tensor) for tensor in each.inputs],
                    labels=classes,
                    **{name: None if mask is None else on_host(mask) for name, mask in own},
                )
            for place in self._places:
                place.fetch()

    def folded(self) -> Adapter:
        """A new adapter with the same outputs, without what only training needs: a prefix without the network that made
        it; this one where there is nothing of the kind. libSeam computes it in f32."""
        if not self._is_foldable:
            return self
        _, _, device = self._weights()
        with plugins.lock, self._plugin:
            self._write_back("folded")
            result = Adapter._of(self._native.folded(), self.site)
        result.task, result.backbone_path = self.task, self.backbone_path
        return result.to(device)

    def _write_back(self, done: str) -> None:
        """Gives libSeam the values as they are now. done: what it is to do with them, in a refusal."""
        for place in self._places:
            place.write_back(f'adapter "{self.id}"', done)

    def _site_arguments(self) -> dict[str, Any]:
        """The arguments that make another adapter for the same place."""
        return {
            "seam": self.seam,
            "backbone_frozen": self.backbone_frozen,
            "classes": self.classes,
            "prefix_length": self.prefix_length,
            "score_kind": self.score_kind,
            "prompts": self.prompts,
            "points": [str(each) for each in self.points] or None,
        }

    def _weights(self) -> tuple[list[Tensor], torch.dtype, torch.device]:
        parameters = [each.tensor for each in self._places]
        real = _real([], parameters)
        device = parameters[0].device if parameters else torch.device("cpu")
        return [each.to(real) for each in parameters], real, device

    # ---- Files, and copies

    def save(
        self, path: str | Path, model: Any = None, *, notes: str = "", backbone_path: str | Path | None = None
    ) -> None:
        """Writes the folder that C, Swift and `seamkit.load` read; the old one or the new one. An adapter's folder that is
        there is replaced, one that holds other files is refused.

        model: the model of transformers that it belongs to, or None for the one it was attached to.
        notes: Markdown lines for the model card. backbone_path: the folder of the model's weights, where it is not the
        one that the model was loaded from (a model that was trained along and saved).

        Raises NumericError for values that are not finite, AlreadyExistsError for a folder that holds something else.
        """
        save([self], path, model, notes=notes, backbone_path=backbone_path)

    def export_onnx(self, path: str | Path, *, opset: int = 18) -> None:
        """Writes what the adapter computes in inference as an ONNX file: see `seamkit.export_onnx`."""
        seamkit.export_onnx(self, path, opset=opset)

    def __reduce__(self) -> tuple[Any, ...]:
        trained = {name: each.requires_grad for name, each in self.named_parameters()}
        state = (self.state_dict(), trained, self.training, self.task, self.backbone_path)
        make = functools.partial(Adapter, self.id, self.site, self.options, **self._site_arguments())
        return make, (), state

    def __setstate__(self, state: Any) -> None:
        values, trained, self.training, self.task, self.backbone_path = state
        self.load_state_dict(values, assign=True)
        for name, each in self.named_parameters():
            each.requires_grad_(trained[name])


def _placed(pass_: Pass, name: str, values: Sequence[Tensor | None]) -> list[int | None]:
    """Inputs of a pass and of its graph."""
    return [None if each is None else pass_.placeholder(f"{name}_{index}", each) for index, each in enumerate(values)]


def _array(handles: Sequence[int | None]) -> Any:
    return (ctypes.c_void_p * len(handles))(*handles)


def _real(inputs: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> torch.dtype:
    """f64 where an input or a parameter is, else f32."""
    is_double = any(each is not None and each.dtype == torch.float64 for each in (*inputs, *parameters))
    return torch.float64 if is_double else torch.float32


def _operand(tensor: Tensor, real: torch.dtype) -> Tensor:
    wanted = real if tensor.is_floating_point() else torch.int32
    return tensor if tensor.dtype == wanted else tensor.to(wanted)
