_base_ = 'vclr_r50_8x64-3seg-400e_kinetics400-rgb.py'

train_pipeline = [
    _base_.sample_tuples,
    dict(type='RawFrameDecode'),
    _base_.augment,
    _base_.format_frames,
    _base_.pack,
]
feature_pipeline = [
    _base_.sample_features,
    dict(type='RawFrameDecode'),
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_rawframes.txt',
        data_prefix=dict(_delete_=True, img='data/kinetics400/rawframes_train'),
        pipeline=train_pipeline,
    )
)
