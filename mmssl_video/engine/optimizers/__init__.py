"""Optimizers and mixed precision for pretraining."""

from .bf16 import Bf16OptimWrapper
from .lars import LARS

__all__ = ['Bf16OptimWrapper', 'LARS']
