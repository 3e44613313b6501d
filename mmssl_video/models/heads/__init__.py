"""Objectives: projection, memory, loss and the labels it makes, one per file."""

from .base import SSLHead
from .inter_frame import InterFrameHead
from .intra_frame import IntraFrameHead
from .order import OrderHead
from .video_level import VideoLevelHead

__all__ = ['InterFrameHead', 'IntraFrameHead', 'OrderHead', 'SSLHead', 'VideoLevelHead']
