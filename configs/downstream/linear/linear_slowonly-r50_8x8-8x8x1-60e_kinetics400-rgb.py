# SlowOnly-50 on Kinetics-400, as the ρ family is evaluated (SlowFast's configs/contrastive_ssl,
# linear_k400_Slow_8x8_R50_syn8): features are not normalised, the rate is for 64 videos; the test
# has 10 clips and three crops.
_base_ = [
    '../../_base_/mmaction2/slowonly_8x8x1.py',
    '../../_base_/linear_runtime.py',
]

model = dict(
    type='FrozenRecognizer3D',
    backbone=dict(pretrained=None),
    cls_head=dict(
        _delete_=True,
        type='LinearEvaluationHead',
        num_classes=400,
        in_channels=2048,
        l2_normalize=False,
        average_clips='prob',
    ),
)
default_hooks = dict(_delete_=True, **_base_.linear_hooks)

train_pipeline = [
    _base_.open_video,
    _base_.sample_train,
    _base_.decode_video,
    dict(type='RandomRescale', scale_range=(256, 320)),
    dict(type='RandomCrop', size=224),
    _base_.flip,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_epochs=60, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.5, nesterov=True, weight_decay=0.0), clip_grad=None)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=8,
        cosine_from='start',
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=64)
