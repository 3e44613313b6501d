# Two clips of a video, each augmented by one draw; small pictures for one CPU.
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[
        dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
        dict(type='Resize', scale=(64, 64), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
        dict(
            type='ClipColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8
        ),
        dict(type='ClipGrayscale', prob=0.2),
        # The papers' blur at 224 pixels, scaled to these.
        dict(type='ClipGaussianBlur', sigma_range=(0.1, 0.6), prob=0.5),
    ],
)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleClips', num_views=2, clip_len=4, frame_interval=2),
    dict(type='DecordDecode'),
    augment,
    dict(type='FormatViews', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
feature_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=6, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 72)),
    dict(type='CenterCrop', crop_size=64),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UnlabeledVideoDataset',
        ann_file='',
        data_prefix=dict(video=''),
        bad_videos='skip',
        pipeline=train_pipeline,
    ),
)
