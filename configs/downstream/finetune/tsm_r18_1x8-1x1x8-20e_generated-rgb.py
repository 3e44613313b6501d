# TSM for one CPU: the same with 8 frames, whose features are shifted in time.
_base_ = 'tsn_r18_1x8-1x1x3-20e_generated-rgb.py'

model = dict(
    backbone=dict(type='ResNetTSM', num_segments=8, shift_div=8, pretrained2d=False),
    cls_head=dict(type='TSMHead', num_segments=8, is_shift=True, init_std=0.001),
)

train_pipeline = [*_base_.train_pipeline]
val_pipeline = [*_base_.val_pipeline]
train_pipeline[1] = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
val_pipeline[1] = dict(
    type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8, test_mode=True
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))
