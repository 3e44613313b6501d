# Clip order on differences of frames: of 30 frames, 3 clips of 4 differences.
_base_ = [
    '../_base_/models/folder_r3d.py',
    '../_base_/datasets/folder_differences.py',
    '../_base_/schedules/folder_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        order=dict(type='PermutationHead', in_channels=128, orders_per_sample=6, dropout=0.0)
    )
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleConsecutiveClips', num_segments=3, clip_len=5, frame_interval=2, clip_gap=1),
    _base_.decode_video,
    {**_base_.augment, 'share': 'view'},
    _base_.differences,
    _base_.format_clips,
    _base_.pack,
]
sample_features = dict(
    type='SampleFrames', clip_len=5, frame_interval=2, num_clips=6, test_mode=True
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
