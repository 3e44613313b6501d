# VICReg on CVRL's clips.
_base_ = '../cvrl/cvrl_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py'

# Wider than the backbone's 128 channels, as the paper's expander is.
expander = dict(
    type='ProjectionMLP',
    in_channels=128,
    hidden_channels=512,
    out_channels=512,
    num_layers=3,
    norm_cfg=dict(type='BN1d'),
)
model = dict(heads=dict(_delete_=True, vicreg=dict(type='VICRegHead', projector=expander)))
