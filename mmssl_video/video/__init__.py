"""Find, read and write videos. Only this package opens them."""

from .cores import available_cores
from .encode import encode_video
from .find import VIDEO_SUFFIXES, find_videos, is_video
from .reader import VideoReader

__all__ = ['VIDEO_SUFFIXES', 'VideoReader', 'available_cores', 'encode_video', 'find_videos']
__all__ += ['is_video']
