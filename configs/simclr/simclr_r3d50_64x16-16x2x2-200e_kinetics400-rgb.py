_base_ = [
    '../_base_/models/r3d50_cvrl.py',
    '../_base_/datasets/cvrl_clips.py',
    '../_base_/schedules/cvrl_200e.py',
    '../_base_/default_runtime.py',
]

# SimCLR on two clips, drawn independently and uniformly, with its projection of two layers.
# Network, augmentation and schedule are CVRL's, since SimCLR's own are for images.
projector = dict(
    type='ProjectionMLP',
    in_channels=2048,
    hidden_channels=2048,
    out_channels=128,
    norm_cfg=dict(type='BN1d'),
)
model = dict(heads=dict(simclr=dict(type='SimCLRHead', projector=projector, temperature=0.1)))

train_pipeline = [
    _base_.open_video,
    dict(type='SampleClips', num_views=2, clip_len=16, frame_interval=2),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
