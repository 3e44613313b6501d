# TSN on HMDB51 (VCLR, App. A.2.1): training on 8 frames of a video, test on 8 and a centre crop.
# Epochs, rate and decay are those of the authors' MMAction2 (github.com/KuangHaofei/mmaction2,
# configs/recognition/tsn/vclr/tsn_hmdb51.py). SPLIT=2 in the environment takes split 2.
_base_ = [
    '../../_base_/mmaction2/tsn_1x1x8.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(backbone=dict(pretrained=None), cls_head=dict(num_classes=51))

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
    _base_.sample_val,
    _base_.decode_video,
    _base_.resize_short,
    dict(type='CenterCrop', crop_size=256),
    _base_.shape_frames,
    _base_.pack,
]
train_data = dict(
    ann_file='data/hmdb51/hmdb51_train_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/hmdb51/videos'),
)
test_data = dict(
    ann_file='data/hmdb51/hmdb51_val_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/hmdb51/videos'),
)
train_dataloader = dict(dataset=dict(**train_data, pipeline=train_pipeline))
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=dict(**test_data, pipeline=test_pipeline))

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(optimizer=dict(lr=0.025, weight_decay=1e-4))
param_scheduler = [dict(type='MultiStepLR', begin=0, by_epoch=True, milestones=[20, 40], gamma=0.1)]
