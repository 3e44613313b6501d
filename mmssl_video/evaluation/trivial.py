"""Trivial features without learning, as baselines that a pretrained backbone has to beat.

The mean frame distinguishes videos by their colours and backgrounds, the frame difference by where
and how much they move. Both resize the whole frame to a square, and return the 16 x 16 means of its
RGB values. If one of them gives better results than a network, the network has learned little.
"""

from mmaction.registry import MODELS
from torch import Tensor, nn

SIZE, GRID = 64, 16  # sides of the resized frame, and of the feature


class FrameDifference(nn.Module):
    """Absolute difference of consecutive frames, [M, C, T, H, W] to [M, C, T - 1, H, W]."""

    def forward(self, clips: Tensor) -> Tensor:
        """Compute the differences."""
        return clips.diff(dim=2).abs()


class TrivialEncoder(nn.Module):
    """An encoder for :func:`~mmssl_video.evaluation.extract.extract_features` without a model.

    Args:
        clip_len: T, frames per clip.
        num_clips: Clips per video, evenly spread from its start to its end; their features are
            averaged.
        measure: Maps clips float32 [M, 3, T, 64, 64], RGB from 0 to 1, to [M, 3, T', 64, 64].

    Attributes:
        pipeline (list[dict]): Pipeline that reads and samples the videos for it.
    """

    def __init__(self, clip_len: int, num_clips: int, measure: nn.Module) -> None:
        super().__init__()
        self.data_preprocessor = MODELS.build(
            dict(
                type='ActionDataPreprocessor',
                mean=[0.0] * 3,
                std=[255.0] * 3,
                format_shape='NCTHW',
            )
        )
        self.backbone = nn.Sequential(measure, nn.AdaptiveAvgPool3d((1, GRID, GRID)), nn.Flatten())
        size = dict(scale=(SIZE, SIZE), keep_ratio=False, interpolation='area')
        self.pipeline = [
            dict(type='VideoInit'),
            dict(
                type='SampleFrames',
                clip_len=clip_len,
                frame_interval=1,
                num_clips=num_clips,
                test_mode=True,
            ),
            dict(type='VideoDecode'),
            dict(type='Resize', **size),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs'),
        ]


def mean_frame() -> TrivialEncoder:
    """Encoder for the mean of 8 frames spread over the video."""
    return TrivialEncoder(1, 8, nn.Identity())


def frame_difference() -> TrivialEncoder:
    """Encoder for the mean absolute difference of consecutive frames.

    It uses all frames of a video with up to 33, otherwise 32 pairs. A video of one frame gives
    zeros.
    """
    return TrivialEncoder(2, 32, FrameDifference())
