# CVRL's R3D-50 fine-tuned on 1 % of Kinetics-400's labels. The text gives only the rate: clips,
# batch, epochs and schedule are those of its linear protocol, the decay and the head MMAction2's.
_base_ = '../linear/linear_r3d50_64x16-32x2x1-100e_kinetics400-rgb.py'

model = dict(
    type='Recognizer3D',
    cls_head=dict(
        _delete_=True,
        type='I3DHead',
        num_classes=400,
        in_channels=2048,
        dropout_ratio=0.5,
        average_clips='prob',
    ),
)
# Batch normalisation learns again, over all GPUs, as in CVRL's pretraining. On CPUs, each process
# normalises its own batch, and the mean of their statistics is kept.
sync_bn = 'torch'
default_hooks = dict(sync_buffers=dict(type='SyncStatisticsHook'))
train_dataloader = dict(
    dataset=dict(ann_file='data/kinetics400/kinetics400_train_list_videos_1percent-seed0.txt')
)
optim_wrapper = dict(optimizer=dict(lr=0.2, weight_decay=1e-4))
