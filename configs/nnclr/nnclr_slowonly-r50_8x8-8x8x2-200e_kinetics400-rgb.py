_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/rho_clips.py',
    '../_base_/schedules/rho_lars_200e.py',
    '../_base_/default_runtime.py',
]

# The paper is about images: the heads are the paper's; clips, augmentation and schedule are those
# of the ρ family.
projector = dict(
    type='ProjectionMLP',
    in_channels=2048,
    hidden_channels=2048,
    out_channels=256,
    num_layers=3,
    norm_cfg=dict(type='BN1d'),
    norm_last=True,
)
predictor = dict(
    type='ProjectionMLP',
    in_channels=256,
    hidden_channels=4096,
    out_channels=256,
    norm_cfg=dict(type='BN1d'),
)
model = dict(
    heads=dict(
        nnclr=dict(
            type='NNCLRHead',
            projector=projector,
            predictor=predictor,
            queue_size=98304,
            temperature=0.1,
        )
    )
)
sync_bn = 'torch'
