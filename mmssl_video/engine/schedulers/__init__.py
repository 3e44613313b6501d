"""Parameter schedulers for pretraining."""

from .warmup_cosine import WarmupCosineLR

__all__ = ['WarmupCosineLR']
