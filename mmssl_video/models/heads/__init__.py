"""Objectives: projection, memory, loss and the labels it makes, one per file."""

from .base import SSLHead
from .byol import BYOLHead
from .inter_frame import InterFrameHead
from .intra_frame import IntraFrameHead
from .moco import MoCoHead
from .neighbour import NeighbourHead
from .nnclr import NNCLRHead
from .order import OrderHead
from .seco_order import SeCoOrderHead
from .simclr import SimCLRHead
from .swav import SwAVHead
from .vince import VINCEHead

__all__ = [
    'BYOLHead',
    'InterFrameHead',
    'IntraFrameHead',
    'MoCoHead',
    'NNCLRHead',
    'NeighbourHead',
    'OrderHead',
    'SSLHead',
    'SeCoOrderHead',
    'SimCLRHead',
    'SwAVHead',
    'VINCEHead',
]
