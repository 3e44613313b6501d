"""Objectives, one per file: each has its projection, memory and loss, and makes its labels.

``LinearEvaluationHead`` is not an objective, but the classifier of a frozen recognizer.
"""

from .base import SSLHead
from .byol import BYOLHead
from .dpc import DPCHead, MemDPCHead
from .inter_frame import InterFrameHead
from .intra_frame import IntraFrameHead
from .linear_evaluation import LinearEvaluationHead
from .moco import MoCoHead
from .neighbour import NeighbourHead
from .nnclr import NNCLRHead
from .odd_one_out import OddOneOutHead
from .order import OrderHead
from .permutation import PermutationHead
from .seco_order import SeCoOrderHead
from .shuffle_learn import ShuffleLearnHead
from .simclr import SimCLRHead
from .speed import SpeedHead
from .swav import SwAVHead
from .transformation import TransformationHead
from .vicreg import VICRegHead
from .videomae import VideoMAEHead
from .vince import VINCEHead

__all__ = [
    'BYOLHead',
    'DPCHead',
    'InterFrameHead',
    'IntraFrameHead',
    'LinearEvaluationHead',
    'MemDPCHead',
    'MoCoHead',
    'NNCLRHead',
    'NeighbourHead',
    'OddOneOutHead',
    'OrderHead',
    'PermutationHead',
    'SSLHead',
    'SeCoOrderHead',
    'ShuffleLearnHead',
    'SimCLRHead',
    'SpeedHead',
    'SwAVHead',
    'TransformationHead',
    'VICRegHead',
    'VINCEHead',
    'VideoMAEHead',
]
