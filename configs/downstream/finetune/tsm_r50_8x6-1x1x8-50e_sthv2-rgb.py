# TSM on Something-Something V2 (VCLR, App. A.2.1): rate, decay and batch are its own, the rest is
# TSN's. The numbers are those of the authors' MMAction2 (github.com/KuangHaofei/mmaction2,
# configs/recognition/tsm/vclr/tsm_sthv2.py), which tests one crop; the ten are the text's.
_base_ = [
    'mmaction::recognition/tsm/tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_sthv2-rgb.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(backbone=dict(pretrained=None, pretrained2d=False))

test_pipeline = [
    *_base_.val_pipeline[:4],
    dict(type='TenCrop', crop_size=224),
    *_base_.val_pipeline[5:],
]
train_dataloader = dict(batch_size=6)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(optimizer=dict(lr=0.0075, weight_decay=5e-4))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=50, by_epoch=True, milestones=[20, 40], gamma=0.1)
]
auto_scale_lr = dict(base_batch_size=48)
