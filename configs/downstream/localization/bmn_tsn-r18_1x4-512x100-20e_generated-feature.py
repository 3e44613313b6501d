# BMN for one CPU, on generated untrimmed videos: 40 of them take about a minute.
_base_ = 'bmn_tsn-r50_2x8-2048x100-9e_activitynet-feature.py'

model = dict(
    feat_dim=512,
    feature_extraction_interval=4,  # 20 to 40 s at 10 frames per second are 50 to 100 features
    # The map of 100 starts and 100 lengths takes most of the time; MMAction2's is 50 times the
    # work.
    num_samples=4,
    num_samples_per_bin=2,
    hidden_dim_1d=64,
    hidden_dim_2d=32,
    hidden_dim_3d=96,
)
load_feature = dict(type='LoadCheckedFeature', channels=512, bins=100, interval=4)
train_pipeline = [load_feature, _base_.make_labels, _base_.pack_train]
val_pipeline = [load_feature, _base_.make_labels, _base_.pack_test]
test_pipeline = [load_feature, _base_.pack_test]

data_root = 'data/untrimmed/tsn-r18'
ann_file_train = f'{data_root}/anet_anno_train.json'
ann_file_val = ann_file_test = f'{data_root}/anet_anno_val.json'
data_prefix = dict(video=f'{data_root}/csv')
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(ann_file=ann_file_train, data_prefix=data_prefix, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(ann_file=ann_file_val, data_prefix=data_prefix, pipeline=val_pipeline),
)
test_dataloader = dict(
    num_workers=1,
    dataset=dict(ann_file=ann_file_test, data_prefix=data_prefix, pipeline=test_pipeline),
)

# So few videos need more epochs; the rate falls at the same part of the run.
train_cfg = dict(max_epochs=20, val_interval=20)
param_scheduler = [dict(type='MultiStepLR', begin=0, by_epoch=True, milestones=[16], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=20))
work_dir = './work_dirs/{{ fileBasenameNoExtension }}'
