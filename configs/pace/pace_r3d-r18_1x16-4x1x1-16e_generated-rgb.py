_base_ = [
    '../_base_/models/small_r3d.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(pace=dict(type='TransformationHead', in_channels=128, num_classes=4, label='pace'))
)

train_pipeline = [
    _base_.open_video,
    dict(type='SamplePace', clip_len=4, paces=(1, 2, 3, 4)),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    dict(type='PackViews', algorithm_keys=('pace',)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
