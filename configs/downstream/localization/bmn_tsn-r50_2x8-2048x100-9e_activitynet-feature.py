# BMN on frame features (VCLR, App. A.2.2). Adam with 1e-3, a tenth of it from epoch 7, 9 epochs and
# batches of 16 are both MMAction2's and the text's; the decay of 1e-4 is MMAction2's.
_base_ = 'mmaction::localization/bmn/bmn_2xb8-2048x100-9e_activitynet-slowonly-k700-feature.py'

custom_imports = dict(imports=['mmssl_video'], allow_failed_imports=False)
custom_hooks = [dict(type='ResultsInWorkDirHook'), dict(type='FiniteLossHook')]

load_feature = dict(type='LoadCheckedFeature', channels=2048, bins=100, interval=16)
make_labels = dict(type='GenerateLocalizationLabels')
pack_train = dict(type='PackLocalizationInputs', keys=('gt_bbox',), meta_keys=('video_name',))
pack_test = dict(
    type='PackLocalizationInputs',
    keys=('gt_bbox',),
    meta_keys=('video_name', 'duration_second', 'duration_frame', 'annotations', 'feature_frame'),
)
train_pipeline = [load_feature, make_labels, pack_train]
val_pipeline = [load_feature, make_labels, pack_test]
test_pipeline = [load_feature, pack_test]

# The folder that tools/extract_bmn_features.py writes.
data_root = 'data/ActivityNet/tsn-r50'
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

auto_scale_lr = dict(base_batch_size=16)
# Results go to the work directory (--work-dir); MMAction2's configs write to a directory of their
# own.
work_dir = './work_dirs/{{ fileBasenameNoExtension }}'
val_evaluator = dict(dump_config=dict(out='results.json'))
test_evaluator = val_evaluator
