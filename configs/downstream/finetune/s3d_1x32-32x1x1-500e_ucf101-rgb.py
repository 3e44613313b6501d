# S3D on UCF101, as CoCLR fine-tunes: 32 frames at 128 pixels, Adam, a tenth of the rate for the
# backbone. CoCLR tests ten crops; here it is one crop of 10 clips, as for the other networks.
_base_ = [
    '../../_base_/models/s3d.py',
    '../../_base_/datasets/ucf101_labelled_clips_128.py',
    '../../_base_/schedules/finetune_150e.py',
    'mmaction::_base_/default_runtime.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(
    type='Recognizer3D',
    cls_head=dict(
        type='I3DHead', num_classes=101, in_channels=1024, dropout_ratio=0.9, average_clips='prob'
    ),
)

train_cfg = dict(max_epochs=500)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=0.001, weight_decay=0.001),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, by_epoch=True, milestones=[400, 450], gamma=0.1)
]
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=3))
