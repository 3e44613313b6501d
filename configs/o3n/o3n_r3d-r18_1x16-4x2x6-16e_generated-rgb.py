_base_ = [
    '../_base_/models/small_r3d.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        # Many orders of each sample: a single one teaches too little in this time.
        odd_one=dict(type='OddOneOutHead', in_channels=128, orders_per_sample=12, dropout=0.0)
    )
)

train_pipeline = [
    _base_.open_video,
    dict(type='SampleOddOneOut', num_segments=6, clip_len=4, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    dict(type='PackViews', algorithm_keys=('odd_one',)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
