# The backbone of the small recipes, for folders of a few hundred real videos. With random weights
# and few iterations, it needs two things (docs/choosing.md): residual blocks that do not start at
# zero, and normalisation also after the projector's last layer.
_base_ = 'small_r3d.py'

model = dict(backbone=dict(zero_init_residual=False))
projector = {**_base_.projector, 'norm_last': True}
contrast = dict(projector=projector, temperature=0.2)
