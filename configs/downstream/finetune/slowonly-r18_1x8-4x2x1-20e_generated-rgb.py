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

sample_train = dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=1)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 6}
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
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
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
