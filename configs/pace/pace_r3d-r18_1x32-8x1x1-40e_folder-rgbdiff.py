# Pace on differences of frames. A clip of 8 differences at the slowest pace spans 25 frames.
_base_ = [
    '../_base_/models/folder_r3d.py',
    '../_base_/datasets/folder_differences.py',
    '../_base_/schedules/folder_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(pace=dict(type='TransformationHead', in_channels=128, num_classes=3, label='pace'))
)

train_pipeline = [
    _base_.open_video,
    dict(type='SamplePace', clip_len=9, paces=(1, 2, 3)),
    _base_.decode_video,
    _base_.augment,
    _base_.differences,
    _base_.format_clips,
    dict(type='PackViews', algorithm_keys=('pace',)),
]
sample_features = dict(
    type='SampleFrames', clip_len=9, frame_interval=1, num_clips=3, test_mode=True
)
feature_pipeline = [
    _base_.open_video,
    sample_features,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.differences,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
