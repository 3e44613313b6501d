# MMAction2's TSN, 3 frames of a video, with pipelines of named parts.
_base_ = [
    'mmaction::recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py',
    '../pipelines/labelled.py',
]

sample_train = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=3)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 25}
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_corners,
    _base_.resize,
    _base_.flip,
    _base_.shape_frames,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    sample_val,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_frames,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_ten,
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
