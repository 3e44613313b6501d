# ResNet-18 on frames.
_base_ = 'r50.py'

model = dict(backbone=dict(depth=18))
