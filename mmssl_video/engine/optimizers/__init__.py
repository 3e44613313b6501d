"""Optimizers of pretraining, and its mixed precision."""

from .bf16 import Bf16OptimWrapper
from .lars import LARS

__all__ = ['Bf16OptimWrapper', 'LARS']
