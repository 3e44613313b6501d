# SlowOnly for one CPU: the backbone of all small recipes of pretraining, clips of 4 frames.
_base_ = 'tsn_r18_1x8-1x1x3-20e_generated-rgb.py'

model = dict(
    type='Recognizer3D',
    backbone=dict(
        _delete_=True,
        type='ResNet3dSlowOnly',
        depth=18,
        base_channels=16,
        pretrained=None,
        lateral=False,
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
        norm_eval=False,
    ),
    cls_head=dict(
        _delete_=True, type='I3DHead', num_classes=12, in_channels=128, average_clips='prob'
    ),
    data_preprocessor=dict(format_shape='NCTHW'),
)

train_pipeline = [*_base_.train_pipeline]
val_pipeline = [*_base_.val_pipeline]
test_pipeline = [*_base_.test_pipeline]
train_pipeline[1] = dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=1)
val_pipeline[1] = dict(
    type='SampleFrames', clip_len=4, frame_interval=2, num_clips=1, test_mode=True
)
test_pipeline[1] = dict(
    type='SampleFrames', clip_len=4, frame_interval=2, num_clips=6, test_mode=True
)
shape = dict(type='FormatShape', input_format='NCTHW')
train_pipeline[-2] = val_pipeline[-2] = test_pipeline[-2] = shape
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
