"""View samplers, augmentations with a stated sharing scope, and formatting of views."""

from .augment import ChannelSplit, SharedAugment
from .checked_feature import LoadCheckedFeature
from .clip_pair import SampleClipPair, draw_gap
from .clips import SampleClips
from .consecutive import SampleConsecutiveClips
from .differences import ClipDifferences
from .formatting import FormatViews, PackViews
from .frame_tuple import LoadMotion, MotionCrop, SampleFrameTuple
from .halves import SampleHalves
from .jointly import SampleJointly
from .odd_one_out import SampleOddOneOut, SumOfDifferences
from .pace import SamplePace
from .photometric import ClipColorJitter, ClipGaussianBlur, ClipGrayscale, Photometric
from .rand_augment import ClipRandAugment
from .rotation import ClipRotation
from .segment_tuples import SampleSegmentTuples
from .sliding_clips import SampleSlidingClips
from .video import VideoDecode, VideoInit

__all__ = [
    'ChannelSplit',
    'ClipColorJitter',
    'ClipDifferences',
    'ClipGaussianBlur',
    'ClipGrayscale',
    'ClipRandAugment',
    'ClipRotation',
    'FormatViews',
    'LoadCheckedFeature',
    'LoadMotion',
    'MotionCrop',
    'PackViews',
    'Photometric',
    'SampleClipPair',
    'SampleClips',
    'SampleConsecutiveClips',
    'SampleFrameTuple',
    'SampleHalves',
    'SampleJointly',
    'SampleOddOneOut',
    'SamplePace',
    'SampleSegmentTuples',
    'SampleSlidingClips',
    'SharedAugment',
    'SumOfDifferences',
    'VideoDecode',
    'VideoInit',
    'draw_gap',
]
