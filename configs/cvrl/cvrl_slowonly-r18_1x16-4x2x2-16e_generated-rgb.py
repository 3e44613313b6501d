# The full method, TA + SA + TC of Table 4.
_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        simclr=dict(
            type='SimCLRHead',
            projector={**_base_.projector, 'num_layers': 4},
            temperature=_base_.contrast.temperature,
        )
    )
)

crop = dict(type='RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.5, 2.0))
jitter = dict(
    type='ClipColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, prob=0.8
)
# The text's blur for 224 pixels, scaled to this size.
blur = dict(type='ClipGaussianBlur', sigma_range=(0.1, 0.6), prob=1.0)
augment = dict(
    type='SharedAugment',
    share='clip',
    transforms=[crop, _base_.resize, _base_.flip, jitter, _base_.grayscale, blur],
)
sample_pair = dict(type='SampleClipPair', clip_len=4, frame_interval=2, gap='decreasing')
train_pipeline = [
    _base_.open_video,
    sample_pair,
    _base_.decode_video,
    augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
