# Frames of video files, as VCLR reads them: view 0 is the anchor tuple, view 1 the positive tuple,
# view 2 the anchor tuple again.
_base_ = '../pipelines/video.py'

sample_tuples = dict(type='SampleSegmentTuples', num_segments=3, clip_len=1, views=(0, 1, 0))
crop = dict(type='RandomResizedCrop', area_range=(0.2, 1.0))
resize = dict(type='Resize', scale=(224, 224), keep_ratio=False)
jitter = dict(
    type='ClipColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8
)
grayscale = dict(type='ClipGrayscale', prob=0.2)
blur = dict(type='ClipGaussianBlur', sigma_range=(0.1, 2.0), prob=0.5)
augment = dict(
    type='SharedAugment',
    share='frame',
    transforms=[crop, resize, _base_.flip, jitter, grayscale, blur],
)
train_pipeline = [
    _base_.open_video,
    sample_tuples,
    _base_.decode_video,
    augment,
    _base_.format_frames,
    _base_.pack,
]
# Features of a whole video: 30 frames, short side 256, centre crop 224 (VCLR, Sec. 4.3).
sample_features = dict(
    type='SampleFrames', clip_len=1, frame_interval=1, num_clips=30, test_mode=True
)
resize_short = dict(type='Resize', scale=(-1, 256))
crop_centre = dict(type='CenterCrop', crop_size=224)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
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
