#!/usr/bin/env python3
"""Time a training step of methods inside the layers: LoRA against PEFT, LoReFT against its formula in PyTorch.

    scripts/setup --test && swift build -c release
    .venv/bin/python benchmarks/inside_layers.py [--compiled] [--json results.json]

The models, batches and rules are those of benchmarks/prefix.py: the sizes of t5-small and of SmolLM2-135M, random
weights, all sides in this process on two threads, in turn, a step is forward, backward, clipping and AdamW. LoRA has
r = 8 on q and v of every attention, from the same values on all sides. LoReFT has rank 4 behind every layer, on all
tokens; in PyTorch it is a hook with torch's orthogonal parametrisation, as in pyreft.

PyTorch has two columns more: bf16, the model's weights and what flows in 16 bits, the adapters in f32, which a user would pick for
speed; and, with --compiled, f32 through torch.compile. Compared first: the losses of the first steps (not of bf16); of
LoReFT that of the first alone, since the two sides learn other numbers behind the same R: reflections here, torch's
parametrisation there.

The floor is the time of the products of the f32 step that no implementation can leave out, as in benchmarks/prefix.py:
a weight needs no gradient, and nothing below the first adapted matrix.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch

# Chooses the BLAS kernels and finds the library, which has to come before what uses it.
from prefix import CASES, LEARNING_RATE, Case, Work, begun, options, peak
from t5_small import spread

from seam_objects import Batch, Runtime

RANK, DIRECTIONS = 8, 4


class LoReFT(torch.nn.Module):
    """Equation 2 of Wu et al. 2024 behind one layer, as pyreft has it."""

    def __init__(self, width: int):
        super().__init__()
        rotation = torch.nn.Linear(width, DIRECTIONS, bias=False)
        self.rotate_layer = torch.nn.utils.parametrizations.orthogonal(rotation)
        self.learned_source = torch.nn.Linear(width, DIRECTIONS)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = self.rotate_layer.weight
        x = hidden.to(rows.dtype)
        moved = self.learned_source(x) - x @ rows.T
        return hidden + (moved @ rows).to(hidden.dtype)


def layers(model: Any) -> list[tuple[str, torch.nn.Module]]:
    """The layers by the start of the names of SeamKit's parameters."""
    stacks = (
        {"encoder": model.encoder.block, "decoder": model.decoder.block}
        if model.config.is_encoder_decoder
        else {"decoder": model.model.layers}
    )
    return [(f"{stack}.{index}", each) for stack, found in stacks.items() for index, each in enumerate(found)]


def with_lora(model: Any, case: Case, values: dict[str, np.ndarray]) -> Any:
    names = ["q", "v"] if model.config.is_encoder_decoder else ["q_proj", "v_proj"]
    config = peft.LoraConfig(task_type=case.task, r=RANK, lora_alpha=RANK, target_modules=names)
    adapted: Any = peft.get_peft_model(model, config)
    sources = {name: torch.from_numpy(value.copy()) for name, value in values.items()}
    with torch.no_grad():
        for name, module in adapted.named_modules():
            if isinstance(module, peft.tuners.lora.Linear):
                path = name.split(".")
                stack = "encoder" if "encoder" in path else "decoder"
                index = next(each for each in path if each.isdigit())
                cross = "cross_" if "EncDecAttention" in path else ""
                start = f"{stack}.{index}.{cross}{path[-1][0]}"
                module.lora_A["default"].weight.copy_(sources.pop(f"{start}.lora_A.weight"))
                module.lora_B["default"].weight.copy_(sources.pop(f"{start}.lora_B.weight"))
    assert not sources, sorted(sources)
    return adapted


def with_loreft(model: Any, _: Case, values: dict[str, np.ndarray]) -> Any:
    model.requires_grad_(False)
    model.interventions = torch.nn.ModuleList()
    for start, layer in layers(model):
        each = LoReFT(model.config.hidden_size)
        with torch.no_grad():
            each.learned_source.weight.copy_(torch.from_numpy(values[f"{start}.learned_source.weight"].copy()))
            each.learned_source.bias.copy_(torch.from_numpy(values[f"{start}.learned_source.bias"].copy()))
            each.rotate_layer.weight = torch.from_numpy(values[f"{start}.rotate_layer.weight"].copy())
        model.interventions.append(each)

        def changed(_: Any, __: Any, found: Any, each: LoReFT = each) -> Any:
            return (each(found[0]), *found[1:]) if isinstance(found, tuple) else each(found)

        layer.register_forward_hook(changed)
    return model


METHODS: dict[str, tuple[str, dict[str, Any], Callable[[Any, Case, dict[str, np.ndarray]], Any]]] = {
    "LoRA": ("lora", {"r": RANK, "lora_alpha": RANK, "targets": ["q", "v"]}, with_lora),
    "LoReFT": ("loreft", {"rank": DIRECTIONS}, with_loreft),
}


def floor(name: str, case: Case) -> Work:
    """The needed products; those of the adapters themselves are left out, they are below 2 % of the rest."""
    given = case.work(0)
    if name == "Llama":
        return given
    # The gradient goes on through the encoder: two products of states for each of its forward's products of states, one
    # for each product with a weight. Of its first layer as of the decoder's.
    batch, source, target = case.sizes
    width, inner, depth = 512, 2048, 6
    whole = batch * source * (4 * width * width + 2 * width * inner + 4 * source * width)
    crossing = depth * (batch * source * 2 * width * width + 2 * batch * target * source * width)
    return Work(given.forward, given.backward + depth * whole + crossing)


class Sides:
    """One model with one method's adapter on all sides."""

    def __init__(self, runtime: Runtime, case: Case, folder: Path, method: str, compiled: bool):
        model = case.model().eval().requires_grad_(False)
        count, source, target = case.sizes
        vocabulary = model.config.vocab_size
        self.ids = torch.randint(3, vocabulary, (count, source))
        self.labels = torch.randint(3, vocabulary, (count, target)) if target else self.ids
        self.batch = Batch(self.ids.numpy(), labels=self.labels.numpy())
        model.save_pretrained(folder)
        id, settings, attach = METHODS[method]
        if id == "lora" and target:
            settings = settings | {"targets": ["q", "v", "cross_q", "cross_v"]}
        backbone = runtime.open(folder)
        adapter = backbone.adapter(id, settings)
        self.session = backbone.session(adapter)
        values = (adapter.folded() if id == "loreft" else adapter).parameters
        self.models = {"PyTorch": attach(copy.deepcopy(model), case, values)}
        self.models["bf16"] = attach(copy.deepcopy(model).to(torch.bfloat16), case, values)
        if compiled:
            self.models["compiled"] = torch.compile(attach(copy.deepcopy(model), case, values))
        self.steps: dict[str, Callable[[], float]] = {"SeamKit": lambda: self.session.train_step(self.batch).loss}
        self.steps |= {side: self._step(each.eval()) for side, each in self.models.items()}

    def _step(self, model: Any) -> Callable[[], float]:
        trained = [each for each in model.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.01)

        def step() -> float:
            loss = model(input_ids=self.ids, labels=self.labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            return loss.item()

        return step


def measured(
    name: str, method: str, sides: Sides, runtime: Runtime, rounds: int, clock: Callable[[], float]
) -> dict[str, Any]:
    sides.session.begin_training(learning_rate=LEARNING_RATE, weight_decay=0.01, max_grad_norm=1.0)
    losses = {side: [step() for _ in range(2)] for side, step in sides.steps.items()}
    times: dict[str, list[float]] = {side: [] for side in sides.steps}
    best = 0.0
    for _ in range(rounds):
        for side, step in sides.steps.items():
            step()  # lets the other sides' threads go to sleep and the caches turn over
            start = clock()
            step()
            times[side].append((clock() - start) * 1e3)
        best = max(best, peak(runtime, clock))
    sides.session.end_training()
    work = floor(name, CASES[name])
    least = (work.forward + work.backward) / best * 1e3
    print(f"\n{name}, {method}: products at best {best * 2 / 1e9:.0f} GFLOP/s, floor of the step {least:.0f} ms")
    found: dict[str, Any] = {"gflops": best * 2 / 1e9, "floor_ms": least}
    print(f"{'ms, median (min ... max)':>12}{'':>18}{'SeamKit to it':>16}{'to the floor':>14}   first losses")
    for side, values in times.items():
        # Of rounds, in which all sides ran one after the other: other work on the machine meets all.
        ratio = statistics.median(a / b for a, b in zip(times["SeamKit"], values, strict=True))
        shown = " ".join(f"{each:.5f}" for each in losses[side])
        print(f"{side:12}{spread(values):>30}{ratio:16.2f}{min(values) / least:14.2f}   {shown}")
        found[side] = {"median_ms": statistics.median(values), "ratio": ratio, "losses": losses[side]}
    count = 2 if method == "LoRA" else 1
    for side in ("PyTorch", "compiled"):
        if side in losses and not np.allclose(losses[side][:count], losses["SeamKit"][:count], rtol=1e-4):
            raise SystemExit(f"{name}, {method}: the losses of SeamKit and {side} differ")
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--method", choices=METHODS, action="append", help="this method only")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as well; takes some minutes")
    arguments = parser.parse_args()
    runtime, clock = begun(arguments, "LoRA", "ReFT")
    results: dict[str, Any] = {}
    for name in arguments.only or CASES:
        for method in arguments.method or METHODS:
            with tempfile.TemporaryDirectory() as folder:
                sides = Sides(runtime, CASES[name], Path(folder), method, arguments.compiled)
                results[f"{name}, {method}"] = measured(name, method, sides, runtime, arguments.rounds, clock)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
