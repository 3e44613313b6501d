_base_ = [
    '../_base_/models/small_r3d.py',
    '../_base_/datasets/small_objects.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(heads=dict(speed=dict(type='SpeedHead', in_channels=128)))

train_pipeline = [
    _base_.open_video,
    dict(type='SamplePace', clip_len=4, paces=(1, 2), every=True),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
