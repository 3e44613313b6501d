"""Parameter schedulers of pretraining."""

from .warmup_cosine import WarmupCosineLR

__all__ = ['WarmupCosineLR']
