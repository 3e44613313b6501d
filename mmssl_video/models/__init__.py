"""Recognizer, heads, masks, projections, memories and backbones, registered into MMAction2."""

from . import backbones, heads, masks, memory, necks, recognizers
from .data_preprocessor import SSLDataPreprocessor
from .momentum import MomentumCopy, forward_shuffled

__all__ = [
    'MomentumCopy',
    'SSLDataPreprocessor',
    'backbones',
    'forward_shuffled',
    'heads',
    'masks',
    'memory',
    'necks',
    'recognizers',
]
