"""VCLR in miniature, for tests: a backbone of two convolutions, small videos, a complete config."""

import importlib.util
import sys
from pathlib import Path

import av
import numpy as np
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmssl_video  # noqa: F401  registers what the configs name

init_default_scope('mmaction')

REPOSITORY = Path(__file__).resolve().parents[1]
CHANNELS = 12
SEGMENTS = 3


def load_tool(name: str):
    """The module of ``tools/<name>.py``, which is in no package, but may import its neighbours."""
    path = REPOSITORY / f'tools/{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def call_tool(name, *args, monkeypatch):
    """Run ``tools/<name>.py`` in this process; its exit status."""
    tool = load_tool(name)
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
    monkeypatch.setenv('LOCAL_RANK', '0')  # the tools set it
    try:
        tool.main()
    except SystemExit as stop:
        return stop.code
    return 0


@MODELS.register_module()
class TinyBackbone(nn.Module):
    """Two convolutions with strides 2, frames or clips to a map [M, CHANNELS, ...].

    Args:
        ndim (int): 2 for frames, 3 for clips (stride 1 in time).
        norm (bool): Whether batch normalisation follows each convolution. Without it, what an
            image is mapped to does not depend on the rest of the batch.
    """

    def __init__(self, ndim: int = 2, norm: bool = False) -> None:
        super().__init__()
        conv, batch_norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[ndim]
        stride = 2 if ndim == 2 else (1, 2, 2)
        self.layers = nn.Sequential()
        for inputs, outputs in ((3, 8), (8, CHANNELS)):
            self.layers.append(conv(inputs, outputs, 3, stride, padding=1))
            if norm:
                self.layers.append(batch_norm(outputs))
            self.layers.append(nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def tiny_model(
    heads: tuple[str, ...] = ('inter', 'intra', 'video', 'order'),
    queue_size: int = 20,
    backbone: dict | None = None,
    query_segment: int | str = 'random',
    format_shape: str = 'NCHW',
    **kwargs,
) -> dict:
    """Config of an SSLRecognizer with some of VCLR's four heads."""
    projector = dict(type='ProjectionMLP', in_channels=CHANNELS, hidden_channels=16, out_channels=6)
    known = dict(
        inter=dict(
            type='InterFrameHead',
            projector=projector,
            queue_size=queue_size,
            query_segment=query_segment,
        ),
        intra=dict(type='IntraFrameHead', projector=projector, query_segment=query_segment),
        video=dict(type='MoCoHead', projector=projector, queue_size=queue_size, temperature=0.1),
        order=dict(type='OrderHead', projector=projector),
    )
    return dict(
        type='SSLRecognizer',
        backbone=backbone or dict(type='TinyBackbone'),
        heads={name: known[name] for name in heads},
        data_preprocessor=dict(
            type='ActionDataPreprocessor',
            mean=[127.5] * 3,
            std=[64.0] * 3,
            format_shape=format_shape,
        ),
        **kwargs,
    )


def build_tiny(seed: int = 0, **kwargs):
    """The recognizer of :func:`tiny_model`, initialised from a seed, in training mode."""
    torch.manual_seed(seed)
    model = MODELS.build(tiny_model(**kwargs))
    model.init_weights()
    return model.train()


def write_videos(folder: Path, num_videos: int, num_frames: int = 12, size: int = 32) -> Path:
    """Write H.264 videos of textures that drift, one per file ``video_<n>.mp4``."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_videos):
        texture = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        texture = texture.repeat(size // 4, axis=0).repeat(size // 4, axis=1)
        with av.open(str(folder / f'video_{number}.mp4'), 'w') as container:
            stream = container.add_stream('libx264', rate=10)
            stream.width = stream.height = size
            stream.pix_fmt = 'yuv420p'
            for step in range(num_frames):
                image = np.ascontiguousarray(np.roll(texture, 2 * step, axis=1))
                frame = av.VideoFrame.from_ndarray(image, format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return folder


def tiny_config(video_dir: Path, work_dir: Path, name: str, epochs: int = 2, **model) -> Config:
    """A pretraining config: frames of 32 px, batches of 4, every augmentation, momentum schedule.

    ``name`` must be one of its own for each run in one process: MMEngine keeps loggers and
    message hubs by it.
    """
    train_pipeline = [
        dict(type='VideoInit'),
        dict(type='SampleSegmentTuples', num_segments=SEGMENTS, clip_len=1, views=(0, 1, 0)),
        dict(type='VideoDecode'),
        dict(
            type='SharedAugment',
            share='frame',
            transforms=[
                dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
                dict(type='Resize', scale=(32, 32), keep_ratio=False),
                dict(type='Flip', flip_ratio=0.5),
                dict(type='ClipColorJitter', prob=0.8),
                dict(type='ClipGrayscale', prob=0.2),
                dict(type='ClipGaussianBlur', prob=0.5),
            ],
        ),
        dict(type='FormatViews', input_format='NCHW'),
        dict(type='PackActionInputs'),
    ]
    feature_pipeline = [
        dict(type='VideoInit'),
        dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=6, test_mode=True),
        dict(type='VideoDecode'),
        dict(type='Resize', scale=(32, 32), keep_ratio=False),
        dict(type='FormatShape', input_format='NCHW'),
        dict(type='PackActionInputs'),
    ]
    return Config(
        dict(
            custom_imports=dict(imports=['mmssl_video', 'tiny_vclr'], allow_failed_imports=False),
            default_scope='mmaction',
            experiment_name=name,
            work_dir=str(work_dir),
            model=tiny_model(**model),
            train_pipeline=train_pipeline,
            feature_pipeline=feature_pipeline,
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                drop_last=True,
                sampler=dict(type='DefaultSampler', shuffle=True),
                dataset=dict(
                    type='UnlabeledVideoDataset',
                    data_prefix=dict(video=str(video_dir)),
                    pipeline=train_pipeline,
                ),
            ),
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=epochs),
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4),
            ),
            param_scheduler=[
                dict(
                    type='CosineAnnealingLR',
                    eta_min=1e-6,
                    by_epoch=True,
                    end=10,
                    convert_to_iter_based=True,
                )
            ],
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='CheckpointHook', interval=1),
            ),
            custom_hooks=[dict(type='ReproducibleHook'), dict(type='ObjectiveReportHook')],
            randomness=dict(seed=3),
            log_level='INFO',
        )
    )
