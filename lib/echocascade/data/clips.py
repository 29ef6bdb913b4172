"""Clips for training and evaluation: the store (`store`) and what is drawn from it (`sampling`)."""

from echocascade.data.sampling import ClipBatch, ClipSampler, EvaluationClips, evaluation_clips
from echocascade.data.store import PAD_RULES, ClipStore, StoreError

__all__ = [
    "PAD_RULES",
    "ClipBatch",
    "ClipSampler",
    "ClipStore",
    "EvaluationClips",
    "StoreError",
    "evaluation_clips",
]
