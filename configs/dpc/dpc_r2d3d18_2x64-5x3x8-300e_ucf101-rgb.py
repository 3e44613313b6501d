_base_ = [
    '../_base_/models/r2d3d18.py',
    '../_base_/datasets/dpc_blocks.py',
    '../_base_/schedules/dpc_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    # As in the authors' code: the statistics of the batch, in evaluation too.
    backbone=dict(norm_cfg=dict(type='BN3d', requires_grad=True, track_running_stats=False)),
    heads=dict(
        dpc=dict(
            type='DPCHead', in_channels=512, feature_channels=256, num_predicted=3, map_size=(4, 4)
        )
    ),
)

# On UCF101 the authors crop squares of 224 pixels from pictures with a short side of 256.
crop_squares = dict(type='MultiScaleCrop', input_size=128, scales=(224 / 256,), random_crop=True)
geometry = dict(
    type='SharedAugment', share='view', transforms=[crop_squares, _base_.resize, _base_.flip]
)
train_pipeline = [
    _base_.open_video,
    _base_.sample_blocks,
    _base_.decode_video,
    geometry,
    _base_.colour,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
