"""Label-free datasets, view samplers and augmentations, registered into MMAction2."""

from . import transforms
from .unlabeled_videos import UnlabeledVideoDataset

__all__ = ['UnlabeledVideoDataset', 'transforms']
