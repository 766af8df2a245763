"""What the scores are that adapters on decoder.output are given."""

from __future__ import annotations

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError

KINDS = {
    "unknown": c.SEAM_SCORES_UNKNOWN,
    "logits": c.SEAM_SCORES_LOGITS,
    "log_probabilities": c.SEAM_SCORES_LOG_PROBABILITIES,
    "probabilities": c.SEAM_SCORES_PROBABILITIES,
    "similarities": c.SEAM_SCORES_SIMILARITIES,
}


def score_kind(name: str) -> int:
    """The number of a kind in the headers. Raises InvalidArgumentError for a name that is none."""
    if name not in KINDS:
        raise InvalidArgumentError(f"score_kind must be one of {', '.join(KINDS)}, found {name!r}")
    return KINDS[name]
