# C3D with batch normalisation, on clips of 16 frames at 112 pixels; its feature is fc7, of length
# 4096.
_base_ = 'r3d18.py'

model = dict(backbone=dict(_delete_=True, type='C3D', pretrained=None, norm_cfg=dict(type='BN3d')))
