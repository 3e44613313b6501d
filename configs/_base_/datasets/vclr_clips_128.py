# VCLR's tuples with clips for S3D: 32 consecutive frames, at 128 pixels.
_base_ = 'vclr_clips_112.py'

sample_tuples_32x1 = dict(type='SampleSegmentTuples', num_segments=3, clip_len=32)
resize = dict(type='Resize', scale=(128, 128), keep_ratio=False)
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[
        _base_.crop,
        resize,
        _base_.flip,
        _base_.jitter,
        _base_.grayscale,
        _base_.blur,
    ],
)
train_pipeline = [
    _base_.open_video,
    sample_tuples_32x1,
    _base_.decode_video,
    augment,
    _base_.format_clips,
    _base_.pack,
]
sample_features = dict(
    type='SampleFrames', clip_len=32, frame_interval=1, num_clips=10, test_mode=True
)
resize_short = dict(type='Resize', scale=(-1, 146))
crop_centre = dict(type='CenterCrop', crop_size=128)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
