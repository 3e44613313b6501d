# TSN on ActivityNet (VCLR, App. A.2.1): training on 8 frames of a video, test on 25 and three
# crops. Batch, rate and decay are those of the authors' MMAction2
# (github.com/KuangHaofei/mmaction2, configs/recognition/tsn/seco/tsn_activitynet.py). They train on
# the annotated actions, cut out of the videos; here the videos are whole, as in MMAction2's other
# recipe. A list of clips works too.
_base_ = [
    '../../_base_/mmaction2/tsn_1x1x8.py',
    '../../_base_/downstream_runtime.py',
]

model = dict(backbone=dict(pretrained=None), cls_head=dict(num_classes=200, dropout_ratio=0.8))

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
    _base_.crop_three,
    _base_.shape_frames,
    _base_.pack,
]
train_data = dict(
    ann_file='data/ActivityNet/anet_train_video.txt',
    data_prefix=dict(video='data/ActivityNet/videos'),
)
test_data = dict(
    ann_file='data/ActivityNet/anet_val_video.txt',
    data_prefix=dict(video='data/ActivityNet/videos'),
)
train_dataloader = dict(batch_size=8, dataset=dict(**train_data, pipeline=train_pipeline))
val_dataloader = dict(dataset=test_data)
test_dataloader = dict(dataset=dict(**test_data, pipeline=test_pipeline))

train_cfg = dict(max_epochs=50, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=1e-4))
param_scheduler = [dict(type='MultiStepLR', begin=0, by_epoch=True, milestones=[20, 40], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=64)
