# Two clips of a video, each augmented by one draw. Pictures are small, for one CPU.
_base_ = '../pipelines/video.py'

sample_clips = dict(type='SampleClips', num_views=2, clip_len=4, frame_interval=2)
crop = dict(type='RandomResizedCrop', area_range=(0.2, 1.0))
resize = dict(type='Resize', scale=(64, 64), keep_ratio=False)
jitter = dict(
    type='ClipColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8
)
grayscale = dict(type='ClipGrayscale', prob=0.2)
# The papers' blur for 224 pixels, scaled to this size.
blur = dict(type='ClipGaussianBlur', sigma_range=(0.1, 0.6), prob=0.5)
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[crop, resize, _base_.flip, jitter, grayscale, blur],
)
train_pipeline = [
    _base_.open_video,
    sample_clips,
    _base_.decode_video,
    augment,
    _base_.format_clips,
    _base_.pack,
]
sample_features = dict(
    type='SampleFrames', clip_len=4, frame_interval=2, num_clips=6, test_mode=True
)
resize_short = dict(type='Resize', scale=(-1, 72))
crop_centre = dict(type='CenterCrop', crop_size=64)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UnlabeledVideoDataset',
        ann_file='',
        data_prefix=dict(video=''),
        bad_videos='skip',
        pipeline=train_pipeline,
    ),
)
