"""View samplers, augmentations with a stated sharing scope, and formatting of views."""

from .augment import ClipColorJitter, ClipGaussianBlur, ClipGrayscale, SharedAugment
from .clip_pair import SampleClipPair, draw_gap
from .clips import SampleClips
from .formatting import FormatViews
from .halves import SampleHalves
from .jointly import SampleJointly
from .segment_tuples import SampleSegmentTuples

__all__ = [
    'ClipColorJitter',
    'ClipGaussianBlur',
    'ClipGrayscale',
    'FormatViews',
    'SampleClipPair',
    'SampleClips',
    'SampleHalves',
    'SampleJointly',
    'SampleSegmentTuples',
    'SharedAugment',
    'draw_gap',
]
