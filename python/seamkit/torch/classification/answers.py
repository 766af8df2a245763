"""What a model says at the place of the answer: logits of tokens and hidden states."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from seamkit.torch.classification.kinds import Kind
from seamkit.torch.classification.prompts import EncodedPrompt

POOLINGS = ("mean", "cls", "max", "pooler")


@torch.no_grad()
def answers(kind: Kind, prompts: Sequence[EncodedPrompt], pooling: str) -> tuple[Tensor | None, Tensor]:
    """Logits [prompts, vocab_size], None without a head, and hidden states [prompts, d_model], f32, in one pass.

    The head is run at the answers alone: its logits of every token would take more memory than the model. Padding
    stands behind the tokens.
    """
    model = kind.model
    device = next(model.parameters()).device
    call: dict[str, Any] = {"return_dict": True}
    padding = kind.token("pad") or 0
    ids, mask = _padded([each.ids for each in prompts], padding)
    call["input_ids"], call["attention_mask"] = ids.to(device), mask.to(device)
    if kind.is_encoder_decoder:
        call["decoder_input_ids"] = _padded([each.decoder_ids for each in prompts], padding)[0].to(device)
    if not kind.is_encoder_only:
        call["use_cache"] = False
    places = torch.tensor([-1 if each.answer is None else each.answer for each in prompts], device=device)
    rows = torch.arange(len(prompts), device=device)
    if not kind.has_head:
        output = model.base_model(**call)
        states = output.last_hidden_state
        if kind.is_encoder_only:
            return None, _pooled(output, call["attention_mask"], pooling).float()
        return None, states[rows, places].float()
    seen: list[Tensor] = []

    def narrow(_: Any, args: Any) -> Any:
        # A head's transformation before its last layer, BERT's, has run at every place by now; it is small.
        picked = args[0][rows, places].unsqueeze(1)
        seen.append(picked[:, 0])
        return (picked, *args[1:])

    def state(_: Any, __: Any, output: Any) -> None:
        seen.append(output[0][rows, places])

    with contextlib.ExitStack() as hooks:
        if kind.is_encoder_only:
            # The state before that transformation.
            hooks.callback(model.base_model.register_forward_hook(state).remove)
        hooks.callback(model.get_output_embeddings().register_forward_pre_hook(narrow).remove)
        logits = model(**call).logits[:, 0]
    return logits.float(), seen[0].float()


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Without dropout; every module is afterwards in the mode that it was in."""
    modes = [(each, each.training) for each in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode


def _padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, [rows, longest]."""
    length = max(len(each) for each in rows)
    ids = torch.tensor([[*each, *[padding] * (length - len(each))] for each in rows])
    mask = torch.tensor([[1] * len(each) + [0] * (length - len(each)) for each in rows])
    return ids, mask


def _pooled(output: Any, mask: Tensor, pooling: str) -> Tensor:
    """One vector of a text (Reimers and Gurevych 2019, section 3), [batch, d_model]."""
    if pooling == "pooler":
        pooled: Tensor = output.pooler_output
        return pooled
    states: Tensor = output.last_hidden_state
    if pooling == "cls":
        return states[:, 0]
    shown = mask.unsqueeze(-1)
    if pooling == "max":
        return torch.where(shown == 1, states, torch.full_like(states, -1e30)).amax(1)
    return (states * shown).sum(1) / shown.sum(1)
