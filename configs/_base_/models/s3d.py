# S3D on clips.
_base_ = 'r3d18.py'

model = dict(backbone=dict(_delete_=True, type='S3D'))
