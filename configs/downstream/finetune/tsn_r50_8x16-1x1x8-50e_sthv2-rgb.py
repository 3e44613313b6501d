# TSN on Something-Something V2 (VCLR, App. A.2.1): 8 frames of a video to train, 8 and ten crops to
# test. Batch, rate and decay are those of the authors' MMAction2 (github.com/KuangHaofei/mmaction2,
# configs/recognition/tsn/vclr/tsn_sthv2.py). Flips are the text's, which that file has not; as in
# MMAction2, "left to right" then becomes "right to left".
_base_ = [
    'mmaction::recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-50e_sthv2-rgb.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(backbone=dict(pretrained=None))

test_pipeline = [
    *_base_.val_pipeline[:4],
    dict(type='TenCrop', crop_size=224),
    *_base_.val_pipeline[5:],
]
train_dataloader = dict(batch_size=16)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(optimizer=dict(lr=0.02, weight_decay=1e-4))
auto_scale_lr = dict(base_batch_size=128)
