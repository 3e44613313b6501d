# VCLR with Video Swin-T. The text names transformers as future work, and no paper has numbers for
# this: clips are those of SlowOnly-50, optimiser and warm-up those of MoCo v3's transformers.
_base_ = 'vclr_slowonly-r50_8x8-8x4x3-400e_kinetics400-rgb.py'

projector = dict(in_channels=768, hidden_channels=768)
model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer3D',
        arch='tiny',
        pretrained=None,
        pretrained2d=False,
        # No stochastic depth: it would also drop blocks of the momentum copy.
        drop_path_rate=0.0,
    ),
    heads=dict(
        inter=dict(projector=projector),
        intra=dict(projector=projector),
        video=dict(projector=projector),
        order=dict(projector=projector),
    ),
    shuffle_bn=False,  # there is no batch normalisation
)

# 1.5e-4 for 256 videos.
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1.5e-4 / 4, weight_decay=0.1))
param_scheduler = [{**_base_.param_scheduler[0], 'warmup': 40}]
