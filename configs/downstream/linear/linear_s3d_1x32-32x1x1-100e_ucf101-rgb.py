# S3D on UCF101 (VCLR, Table 8), as CoCLR is evaluated: 32 frames at 128 pixels, and batch
# normalisation of the L2-normalised feature. CoCLR tests ten crops of windows that slide over the
# video; here it is 10 clips and one crop. SPLIT=2 in the environment takes split 2.
_base_ = [
    '../../_base_/models/s3d.py',
    '../../_base_/datasets/ucf101_labelled_clips_128.py',
    'mmaction::_base_/default_runtime.py',
    '../../_base_/linear_runtime.py',
]

model = dict(
    type='FrozenRecognizer3D',
    cls_head=dict(
        type='LinearEvaluationHead',
        num_classes=101,
        in_channels=1024,
        norm_cfg=dict(type='BN1d'),
        average_clips='prob',
    ),
)
default_hooks = dict(_delete_=True, **_base_.linear_hooks)
# The head's batch normalisation uses the statistics of the whole batch.
sync_bn = 'torch'

# The last batch of split 1 has one video, which cannot be normalised.
train_dataloader = dict(drop_last=True)
val_dataloader = dict(batch_size=32)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# CoCLR's code tries rates from 0.1 to 1.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.001)
)
param_scheduler = [dict(type='MultiStepLR', begin=0, by_epoch=True, milestones=[60, 80], gamma=0.1)]
auto_scale_lr = dict(enable=False, base_batch_size=32)
