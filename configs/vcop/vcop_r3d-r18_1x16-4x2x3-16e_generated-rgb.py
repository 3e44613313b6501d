_base_ = [
    '../_base_/models/small_r3d.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        # All orders of each sample: a single one teaches too little in this time.
        order=dict(type='PermutationHead', in_channels=128, orders_per_sample=6, dropout=0.0)
    )
)

# 25 of 30 frames. One draw for all three clips, so that only motion shows their order.
train_pipeline = [
    _base_.open_video,
    dict(type='SampleConsecutiveClips', num_segments=3, clip_len=4, frame_interval=2, clip_gap=2),
    _base_.decode_video,
    {**_base_.augment, 'share': 'view'},
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
