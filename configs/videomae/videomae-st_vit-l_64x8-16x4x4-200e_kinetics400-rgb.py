# A random mask in space and time and four clips of each opened video, as in ST-MAE, with the
# encoder, decoder and target of VideoMAE.
_base_ = [
    '../_base_/models/videomae.py',
    '../_base_/datasets/videomae_clips.py',
    '../_base_/schedules/videomae_1600e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(embed_dims=1024, depth=24, num_heads=16),
    heads=dict(
        videomae=dict(
            in_channels=1024,
            mask=dict(_delete_=True, type='SpaceTimeMask', ratio=0.9),
            decoder_channels=512,
            num_heads=16,
            views=(0, 1, 2, 3),
        )
    ),
)

sample_clips = dict(type='SampleClips', num_views=4, clip_len=16, frame_interval=4)
crop_area = dict(type='RandomResizedCrop', area_range=(0.5, 1.0))
augment_area = dict(
    type='SharedAugment', share='clip', transforms=[crop_area, _base_.resize, _base_.flip]
)
train_pipeline = [
    _base_.open_video,
    sample_clips,
    _base_.decode_video,
    augment_area,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))

# 1.6e-3 for 256 videos, for any number of clips.
train_cfg = dict(max_epochs=200)
optim_wrapper = dict(optimizer=dict(lr=3.2e-3), clip_grad=dict(max_norm=0.02))
param_scheduler = [{**_base_.param_scheduler[0], 'eta_min': 0.0}]
auto_scale_lr = dict(base_batch_size=512)
