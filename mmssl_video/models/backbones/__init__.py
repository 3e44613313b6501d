"""Backbones that MMAction2 lacks."""

from .masked_vit import MaskedVisionTransformer
from .s3d import S3D

__all__ = ['S3D', 'MaskedVisionTransformer']
