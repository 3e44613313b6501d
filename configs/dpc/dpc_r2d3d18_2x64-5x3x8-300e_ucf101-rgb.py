_base_ = [
    '../_base_/models/r2d3d18.py',
    '../_base_/datasets/dpc_blocks.py',
    '../_base_/schedules/dpc_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    # As the authors' code: the statistics of the batch, in evaluation too.
    backbone=dict(norm_cfg=dict(type='BN3d', requires_grad=True, track_running_stats=False)),
    heads=dict(
        dpc=dict(
            type='DPCHead', in_channels=512, feature_channels=256, num_predicted=3, map_size=(4, 4)
        )
    ),
)

# On UCF101 the authors crop squares of 224 pixels from pictures with a short side of 256.
geometry = dict(
    type='SharedAugment',
    share='view',
    transforms=[
        dict(type='MultiScaleCrop', input_size=128, scales=(224 / 256,), random_crop=True),
        *_base_.geometry.transforms[1:],
    ],
)
train_pipeline = [*_base_.train_pipeline[:3], geometry, *_base_.train_pipeline[4:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
