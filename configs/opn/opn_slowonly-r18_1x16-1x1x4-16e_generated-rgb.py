_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        order=dict(
            type='PermutationHead',
            in_channels=128,
            num_segments=4,
            up_to_reversal=True,
            norm=True,
            # All orders of each sample: a single one teaches too little in this time.
            orders_per_sample=24,
            dropout=0.0,
        )
    )
)

# Single frames as clips; 12 to 27 of 30 frames from the first to the last. Patches of 64 pixels
# from frames of 96 x 72; of colours, only the channels change.
train_pipeline = [
    _base_.open_video,
    _base_.load_motion,
    dict(type='SampleFrameTuple', gaps=((4, 9), (4, 9), (4, 9))),
    _base_.decode_video,
    dict(type='MotionCrop', region=72, size=64, jitter=4),
    dict(type='SharedAugment', share='view', transforms=[_base_.resize, _base_.flip]),
    dict(type='SharedAugment', share='frame', transforms=[dict(type='ChannelSplit')]),
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
