# TSN with 8 frames of a video, and 25 for the test.
_base_ = 'tsn_1x1x3.py'

sample_train = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
sample_val = {**sample_train, 'test_mode': True}
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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
