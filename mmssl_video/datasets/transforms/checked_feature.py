"""Load a video's features for BMN, and check that they fit the config."""

from mmaction.datasets.transforms import LoadLocalizationFeature
from mmaction.registry import TRANSFORMS

from mmssl_video.errors import UserError


@TRANSFORMS.register_module()
class LoadCheckedFeature(LoadLocalizationFeature):
    """MMAction2's `LoadLocalizationFeature`, with checks, for ``tools/extract_bmn_features.py``.

    Without the checks, a CSV with a wrong shape gives an unclear error in a convolution, and a CSV
    with a wrong interval gives proposals that are shifted in time, without any error.

    Needs ``feature_path``, ``feature_frame`` and ``duration_frame``; adds ``raw_feature``, float32
    [channels, bins].

    Args:
        channels: Dimensions of a feature, ``feat_dim`` of the model.
        bins: Rows of the CSV, ``temporal_dim`` of the model.
        interval: Frames from one feature to the next before they were rescaled to ``bins``,
            ``feature_extraction_interval`` of the model.

    Raises:
        UserError: The CSV is missing, unreadable or has another shape, or the annotation has
            another interval.
    """

    def __init__(self, channels: int, bins: int = 100, interval: int = 16) -> None:
        self.channels = channels
        self.bins = bins
        self.interval = interval

    def transform(self, results: dict) -> dict:
        """Load and check the features."""
        path = results['feature_path']
        try:
            results = super().transform(results)
        except (OSError, ValueError) as error:
            reason = f'{type(error).__name__}: {error}'.splitlines()[0]
            raise UserError(
                f'{path}: cannot be read as a table of features ({reason}); write it with '
                'tools/extract_bmn_features.py, and set data_prefix.video to its folder'
            ) from error
        channels, bins = results['raw_feature'].shape
        if (channels, bins) != (self.channels, self.bins):
            raise UserError(
                f'{path}: holds {bins} rows of {channels}, the config is for {self.bins} rows of '
                f'{self.channels}; set model.feat_dim={channels}, model.temporal_dim={bins} and '
                'the same in LoadCheckedFeature, or extract features of this backbone'
            )
        covered = results['duration_frame'] // self.interval * self.interval
        if results['feature_frame'] != covered:
            raise UserError(
                f'{path}: covers {results["feature_frame"]} of {results["duration_frame"]} frames, '
                f'with one feature every {self.interval} frames it would be {covered}; set '
                'model.feature_extraction_interval and interval of LoadCheckedFeature to that of '
                'the extraction, and ann_file to the annotation beside the features'
            )
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(channels={self.channels}, bins={self.bins}, '
            f'interval={self.interval})'
        )
