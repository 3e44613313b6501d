# ResNet-50 on frames of Kinetics-400, in addition to the linear SVM of VCLR's paper: the layer is
# trained on 8 augmented frames of a video and tested on the SVM's 30. No paper has this recipe;
# crop, rate (32 per 1024 videos) and schedule are CVRL's.
_base_ = [
    '../../_base_/mmaction2/tsn_1x1x8.py',
    '../../_base_/linear_runtime.py',
]

model = dict(
    type='FrozenRecognizer2D',
    backbone=dict(pretrained=None),
    cls_head=dict(
        _delete_=True,
        type='LinearEvaluationHead',
        num_classes=400,
        in_channels=2048,
        average_clips='prob',
    ),
)
default_hooks = dict(_delete_=True, **_base_.linear_hooks)

crop = dict(type='RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.5, 2.0))
train_pipeline = [
    _base_.open_video,
    _base_.sample_train,
    _base_.decode_video,
    crop,
    _base_.resize,
    _base_.flip,
    _base_.shape_frames,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    {**_base_.sample_val, 'num_clips': 30},
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=8.0, weight_decay=0.0), clip_grad=None)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=5,
        cosine_from='start',
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
