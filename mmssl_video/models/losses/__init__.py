"""Formulas of the objectives: pure functions of tensors."""

from .byol import byol_loss
from .dense import dense_contrast, map_vectors
from .info_nce import contrast, info_nce, info_nce_from_similarities, info_nce_in_batch
from .nt_xent import nt_xent_similarities
from .swav import sinkhorn, swapped_prediction

__all__ = [
    'byol_loss',
    'contrast',
    'dense_contrast',
    'info_nce',
    'info_nce_from_similarities',
    'info_nce_in_batch',
    'map_vectors',
    'nt_xent_similarities',
    'sinkhorn',
    'swapped_prediction',
]
