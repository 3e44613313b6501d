# Clips of UCF101 split 1 at 112 pixels, as VCOP reads them: three in a row, each cropped by itself.
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleConsecutiveClips', num_segments=3, clip_len=16, clip_gap=8),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(171, 128), keep_ratio=False),
    dict(type='SharedAugment', share='clip', transforms=[dict(type='RandomCrop', size=112)]),
    dict(type='FormatViews', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
# Features of a whole video: 10 clips, centre crop.
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=16, frame_interval=1, num_clips=10, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(171, 128), keep_ratio=False),
    dict(type='CenterCrop', crop_size=112),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UnlabeledVideoDataset',
        ann_file='data/ucf101/ucf101_train_split_1_videos.txt',
        data_prefix=dict(video='data/ucf101/videos'),
        bad_videos='skip',
        pipeline=train_pipeline,
    ),
)
