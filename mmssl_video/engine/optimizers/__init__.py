"""Optimizers of pretraining."""

from .lars import LARS

__all__ = ['LARS']
