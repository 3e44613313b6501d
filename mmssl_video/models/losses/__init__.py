"""Formulas of the objectives: pure functions of tensors."""

from .byol import byol_loss
from .info_nce import contrast, info_nce, info_nce_from_similarities, info_nce_in_batch
from .nt_xent import nt_xent_similarities
from .swav import sinkhorn, swapped_prediction

__all__ = [
    'byol_loss',
    'contrast',
    'info_nce',
    'info_nce_from_similarities',
    'info_nce_in_batch',
    'nt_xent_similarities',
    'sinkhorn',
    'swapped_prediction',
]
