# BMN on features of clips.
_base_ = 'bmn_tsn-r50_2x8-2048x100-9e_activitynet-feature.py'

data_root = 'data/ActivityNet/slowonly-r50'
ann_file_train = f'{data_root}/anet_anno_train.json'
ann_file_val = ann_file_test = f'{data_root}/anet_anno_val.json'
data_prefix = dict(video=f'{data_root}/csv')
train_dataloader = dict(dataset=dict(ann_file=ann_file_train, data_prefix=data_prefix))
val_dataloader = dict(dataset=dict(ann_file=ann_file_val, data_prefix=data_prefix))
test_dataloader = dict(dataset=dict(ann_file=ann_file_test, data_prefix=data_prefix))
work_dir = './work_dirs/{{ fileBasenameNoExtension }}'
