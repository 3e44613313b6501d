# MMAction2's SlowOnly, clips of 8 frames, 8 apart, with pipelines of named parts.
_base_ = [
    'mmaction::recognition/slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb.py',
    '../pipelines/labelled.py',
]

sample_train = dict(type='SampleFrames', clip_len=8, frame_interval=8, num_clips=1)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 10}
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop,
    _base_.resize,
    _base_.flip,
    _base_.shape_clips,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    sample_val,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_three,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
