"""Label-free datasets, view samplers and augmentations, registered into MMAction2."""

from . import transforms
from .repeated_videos import RepeatedVideoDataset
from .unlabeled_videos import UnlabeledVideoDataset

__all__ = ['RepeatedVideoDataset', 'UnlabeledVideoDataset', 'transforms']
