"""Format a flat list of frames into the view axes that the recognizer reads."""

import numpy as np
from mmaction.datasets.transforms import PackActionInputs
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from mmssl_video.errors import UserError


@TRANSFORMS.register_module()
class FormatViews(BaseTransform):
    """Stack the frames of all views into one array.

    Required keys: ``imgs`` (V * S * T images uint8 [H, W, C] of one size, in order view, segment,
    frame), ``num_views``, ``num_segments``, ``clip_len``.
    Modified key: ``imgs``, uint8 [V, S, C, H, W] for ``'NCHW'``, [V, S, C, T, H, W] for
    ``'NCTHW'``. If ``num_segments`` is a tuple, with S of each view (:class:`SampleJointly`), the
    views share one axis: [1, sum(S), C, H, W] or [1, sum(S), C, T, H, W].
    Added key: ``input_shape``.

    Args:
        input_format (str): ``'NCHW'`` for 2D backbones (T must be 1), ``'NCTHW'`` for 3D ones;
            the same value as ``format_shape`` of the data preprocessor.
    """

    def __init__(self, input_format: str) -> None:
        if input_format not in ('NCHW', 'NCTHW'):
            raise UserError(
                f"FormatViews.input_format is {input_format!r}; use 'NCHW' (2D) or 'NCTHW' (3D)"
            )
        self.input_format = input_format

    def transform(self, results: dict) -> dict:
        """Replace the list ``imgs`` by an array."""
        for name, draws in results.get('photometric', ()):
            if len(draws) != len(results['imgs']):
                raise UserError(
                    f"SharedAugment(photometric='device') has drawn {name} for {len(draws)} "
                    f'frames, but a later transform makes {len(results["imgs"])} images of them; '
                    "set photometric='worker'"
                )
        imgs = np.stack(results['imgs'])
        axes = results['num_views'], results['num_segments']
        if isinstance(results['num_segments'], tuple):
            axes = 1, sum(results['num_segments'])
        imgs = imgs.reshape(*axes, results['clip_len'], *imgs.shape[1:])
        if self.input_format == 'NCTHW':
            imgs = imgs.transpose(0, 1, 5, 2, 3, 4)
        elif results['clip_len'] != 1:
            raise UserError(
                f"FormatViews(input_format='NCHW') got clips of {results['clip_len']} frames; "
                "set clip_len=1 in the view sampler or use 'NCTHW' with a 3D backbone"
            )
        else:
            imgs = imgs[:, :, 0].transpose(0, 1, 4, 2, 3)
        results['imgs'] = np.ascontiguousarray(imgs)
        results['input_shape'] = results['imgs'].shape
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(input_format={self.input_format!r})'


@TRANSFORMS.register_module()
class PackViews(PackActionInputs):
    """MMAction2's ``PackActionInputs``, with the keys of the views that the recognizer needs.

    Added fields of the data sample: ``num_segments`` (int, or a tuple with S of each view) and,
    with ``SharedAugment(photometric='device')``, ``photometric``. ``algorithm_keys`` are for labels
    that a transform writes and a head reads.
    """

    def transform(self, results: dict) -> dict:
        """Pack ``inputs`` and ``data_samples``."""
        packed = super().transform(results)
        for key in ('num_segments', 'photometric'):
            if key in results:
                packed['data_samples'].set_field(results[key], key)
        return packed
