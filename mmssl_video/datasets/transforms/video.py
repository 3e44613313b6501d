"""Open and decode videos in a pipeline, with :class:`~mmssl_video.video.VideoReader`."""

import numpy as np
from mmaction.registry import TRANSFORMS
from mmcv.transforms import BaseTransform

from mmssl_video.video import VideoReader
from mmssl_video.video.find import fetch


@TRANSFORMS.register_module()
class VideoInit(BaseTransform):
    """Open a video. Use it with :class:`VideoDecode`, instead of MMAction2's ``DecordInit`` etc.

    Required keys: ``filename``, a path or a URI of an MMEngine backend; optionally ``index_path``,
    where the index of the video may be.
    Added keys: ``video_reader`` (:class:`~mmssl_video.video.VideoReader`), ``total_frames``,
    ``avg_fps``, and ``frame_times``, float64 [total_frames], seconds at which each frame is shown.

    Args:
        io_backend (str): ``'disk'`` for local files, which the reader opens itself. With other
            backends of MMEngine, or for a URI, the whole file is fetched.
        num_threads (int): Decoding threads; 0 means one per core. Default 1.
        timeout (float, optional): Seconds allowed for opening and decoding together, after the
            file is fetched; None for no limit. Default 30.
        kwargs: Further arguments of the backend.

    Raises:
        BadVideoError: If the video cannot be fetched, or cannot be opened in time.
        UserError: If MMEngine has no backend for it.
    """

    def __init__(
        self,
        io_backend: str = 'disk',
        num_threads: int = 1,
        timeout: float | None = 30.0,
        **kwargs,
    ) -> None:
        self.io_backend = io_backend
        self.num_threads = num_threads
        self.timeout = timeout
        self.kwargs = kwargs

    def transform(self, results: dict) -> dict:
        """Add the open video to ``results``."""
        # Without a name, MMEngine finds the backend by the URI.
        known = {} if self.io_backend in ('disk', 'local') else {'backend': self.io_backend}
        reader = VideoReader(
            fetch(results['filename'], known | self.kwargs or None),
            name=results['filename'],
            num_threads=self.num_threads,
            timeout=self.timeout,
            index_path=results.get('index_path'),
        )
        results['video_reader'] = reader
        results['total_frames'] = len(reader)
        results['avg_fps'] = reader.avg_fps
        results['frame_times'] = reader.times
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(io_backend={self.io_backend!r}, '
            f'num_threads={self.num_threads}, timeout={self.timeout})'
        )


@TRANSFORMS.register_module()
class VideoDecode(BaseTransform):
    """Decode frames of a video that :class:`VideoInit` has opened, and close it.

    Required keys: ``video_reader``, ``frame_inds`` (int, any shape, each in [0, total_frames)).
    Added keys: ``imgs``, a list of RGB frames uint8 [H, W, 3] in the order of ``frame_inds``, which
    do not share memory; ``original_shape`` and ``img_shape``, (H, W).

    Raises:
        BadVideoError: If a frame cannot be decoded in time.
    """

    def transform(self, results: dict) -> dict:
        """Add the frames to ``results``."""
        results['frame_inds'] = np.asarray(results['frame_inds']).reshape(-1)
        with results['video_reader'] as reader:
            results['imgs'] = reader.frames(results['frame_inds'])
        results['video_reader'] = None
        results['original_shape'] = results['img_shape'] = results['imgs'][0].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
