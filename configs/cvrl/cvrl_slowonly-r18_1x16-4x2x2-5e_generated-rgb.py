# The full method, TA + SA + TC of Table 4.
_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_5e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(simclr=dict(type='SimCLRHead', projector={**_base_.projector, 'num_layers': 4}))
)

augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[
        dict(type='RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.5, 2.0)),
        dict(type='Resize', scale=(64, 64), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
        dict(
            type='ClipColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8
        ),
        dict(type='ClipGrayscale', prob=0.2),
        # The text's blur at 224 pixels, scaled to these.
        dict(type='ClipGaussianBlur', sigma_range=(0.1, 0.6), prob=1.0),
    ],
)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleClipPair', clip_len=4, frame_interval=2, gap='decreasing'),
    dict(type='DecordDecode'),
    augment,
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
