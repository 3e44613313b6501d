# TSM on Something-Something V2 (VCLR, App. A.2.1): rate, decay and batch are its own, the rest is
# TSN's. The numbers are those of the authors' MMAction2 (github.com/KuangHaofei/mmaction2,
# configs/recognition/tsm/vclr/tsm_sthv2.py), which tests one crop. The text has ten, five of them
# mirrored; these show the other class of a pair such as "left to right". Here there are three
# crops.
_base_ = [
    'mmaction::recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb.py',
    '../../_base_/pipelines/labelled.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(backbone=dict(pretrained=None, pretrained2d=False))

sample_train = dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=8)
sample_test = {**sample_train, 'test_mode': True}
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.resize_short,
    {**_base_.crop_corners, 'num_fixed_crops': 13},
    _base_.resize,
    {**_base_.flip, 'flip_label_map': _base_.sthv2_flip_label_map},
    _base_.shape_frames,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    sample_test,
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
    _base_.crop_three,
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(batch_size=6, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(optimizer=dict(lr=0.0075, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', begin=0, by_epoch=True, milestones=[20, 40], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=48)
