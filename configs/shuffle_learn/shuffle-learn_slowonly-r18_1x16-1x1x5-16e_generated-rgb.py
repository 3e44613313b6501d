_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

# The paper's linear classifier of three frames cannot see which frame is between the two others.
model = dict(
    heads=dict(
        order=dict(type='ShuffleLearnHead', in_channels=128, tuple_channels=256, dropout=0.0)
    )
)

# Single frames as clips; 10 to 26 of 30 frames from the first to the last. One draw for all five.
train_pipeline = [
    _base_.open_video,
    _base_.load_motion,
    dict(type='SampleFrameTuple', gaps=((3, 8), (2, 5), (2, 5), (3, 8))),
    _base_.decode_video,
    {**_base_.augment, 'share': 'view'},
    _base_.format_clips,
    _base_.pack,
]
feature_pipeline = [
    _base_.open_video,
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=6, test_mode=True),
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
