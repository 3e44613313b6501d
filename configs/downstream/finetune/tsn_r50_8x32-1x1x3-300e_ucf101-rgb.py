# TSN on UCF101 (VCLR, App. A.2.1): training on 3 frames of a video, test on 25 and a centre crop.
# Epochs, rate and decay are those of the authors' MMAction2 (github.com/KuangHaofei/mmaction2,
# configs/recognition/tsn/seco/tsn_ucf101.py). SPLIT=2 in the environment takes split 2.
_base_ = [
    '../../_base_/mmaction2/tsn_1x1x3.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(backbone=dict(pretrained=None), cls_head=dict(num_classes=101, init_std=0.001))

train_pipeline = [
    _base_.open_video,
    _base_.sample_train,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop,
    _base_.resize,
    _base_.flip,
    _base_.shape_frames,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    _base_.sample_test,
    _base_.decode_video,
    _base_.resize_short,
    dict(type='CenterCrop', crop_size=256),
    _base_.shape_frames,
    _base_.pack,
]
train_data = dict(
    ann_file='data/ucf101/ucf101_train_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/ucf101/videos'),
)
test_data = dict(
    ann_file='data/ucf101/ucf101_val_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/ucf101/videos'),
)
train_dataloader = dict(dataset=dict(**train_data, pipeline=train_pipeline))
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=dict(**test_data, pipeline=test_pipeline))

train_cfg = dict(max_epochs=300, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=5e-4))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, by_epoch=True, milestones=[120, 240], gamma=0.1)
]
