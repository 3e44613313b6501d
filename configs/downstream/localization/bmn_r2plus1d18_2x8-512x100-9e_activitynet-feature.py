# BMN on features of clips, 512 wide.
_base_ = 'bmn_tsn-r50_2x8-2048x100-9e_activitynet-feature.py'

model = dict(feat_dim=512)
load_feature = dict(type='LoadCheckedFeature', channels=512, bins=100, interval=16)
train_pipeline = [load_feature, _base_.make_labels, _base_.pack_train]
val_pipeline = [load_feature, _base_.make_labels, _base_.pack_test]
test_pipeline = [load_feature, _base_.pack_test]

data_root = 'data/ActivityNet/r2plus1d18'
ann_file_train = f'{data_root}/anet_anno_train.json'
ann_file_val = ann_file_test = f'{data_root}/anet_anno_val.json'
data_prefix = dict(video=f'{data_root}/csv')
train_dataloader = dict(
    dataset=dict(ann_file=ann_file_train, data_prefix=data_prefix, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(ann_file=ann_file_val, data_prefix=data_prefix, pipeline=val_pipeline)
)
test_dataloader = dict(
    dataset=dict(ann_file=ann_file_test, data_prefix=data_prefix, pipeline=test_pipeline)
)
work_dir = './work_dirs/{{ fileBasenameNoExtension }}'
