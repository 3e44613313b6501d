_base_ = [
    '../_base_/models/small_r3d.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

# Batch normalisation keeps its statistics here, as in all small recipes: they share the evaluation.
model = dict(
    heads=dict(
        dpc=dict(
            type='DPCHead', in_channels=128, feature_channels=64, num_predicted=2, map_size=(2, 2)
        )
    )
)

# 24 frames in a row. One crop and flip for all of them.
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleConsecutiveClips', num_segments=6, clip_len=4, frame_interval=1, clip_gap=0),
    dict(type='DecordDecode'),
    {**_base_.augment, 'share': 'view'},
    *_base_.train_pipeline[4:],
]
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=1, num_clips=6, test_mode=True),
    *_base_.feature_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
