_base_ = 'vclr_r50_8x64-3seg-400e_kinetics400-rgb.py'

train_pipeline = [
    dict(type='SampleSegmentTuples', num_segments=3, clip_len=1, views=(0, 1, 0)),
    dict(type='RawFrameDecode'),
    _base_.augment,
    dict(type='FormatViews', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
feature_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=30, test_mode=True),
    dict(type='RawFrameDecode'),
    *_base_.feature_pipeline[3:],
]
train_dataloader = dict(
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_rawframes.txt',
        data_prefix=dict(_delete_=True, img='data/kinetics400/rawframes_train'),
        pipeline=train_pipeline,
    )
)
