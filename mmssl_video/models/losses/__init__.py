"""Formulas of the objectives: pure functions of tensors."""

from .info_nce import contrast, info_nce, info_nce_from_similarities

__all__ = ['contrast', 'info_nce', 'info_nce_from_similarities']
