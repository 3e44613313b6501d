# TSM for one CPU: like TSN, with 8 frames and features that are shifted in time.
_base_ = 'tsn_r18_1x8-1x1x3-20e_generated-rgb.py'

model = dict(
    backbone=dict(type='ResNetTSM', num_segments=8, shift_div=8, pretrained2d=False),
    cls_head=dict(type='TSMHead', num_segments=8, is_shift=True, init_std=0.001),
)

sample_train = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
sample_val = {**sample_train, 'test_mode': True}
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.crop,
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
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))
