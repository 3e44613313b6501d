# Two clips of a real video: 12 frames, every second one, at 32 pixels. So few pixels are fast, and
# with only hundreds of videos, more pixels gave no better features (docs/choosing.md). The lists
# are train.txt and test.txt of a folder.
_base_ = 'small_clips.py'

sample_clips = dict(type='SampleClips', num_views=2, clip_len=12, frame_interval=2)
crop = dict(type='RandomResizedCrop', area_range=(0.3, 1.0))
# By means over areas; otherwise only single pixels of large frames would remain.
resize = dict(type='Resize', scale=(32, 32), keep_ratio=False, interpolation='area')
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[crop, resize, _base_.flip, _base_.jitter, _base_.grayscale],
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
    type='SampleFrames', clip_len=12, frame_interval=2, num_clips=3, test_mode=True
)
resize_short = dict(type='Resize', scale=(-1, 36), interpolation='area')
crop_centre = dict(type='CenterCrop', crop_size=32)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
