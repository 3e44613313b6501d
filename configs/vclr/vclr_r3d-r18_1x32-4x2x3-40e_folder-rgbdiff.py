# VCLR with clips, on differences of frames: contrast of tuples and of clips, and order.
_base_ = [
    '../_base_/models/folder_r3d.py',
    '../_base_/datasets/folder_differences.py',
    '../_base_/schedules/folder_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        inter=dict(type='InterFrameHead', **_base_.contrast, queue_size=32),
        intra=dict(type='IntraFrameHead', **_base_.contrast),
        video=dict(type='MoCoHead', **_base_.contrast, queue_size=32),
        order=dict(type='OrderHead', projector=_base_.projector),
    )
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleSegmentTuples', num_segments=3, clip_len=5, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
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
