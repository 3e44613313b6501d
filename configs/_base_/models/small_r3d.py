# The backbone of the small recipes of order and prediction. It has 3x3x3 kernels in all stages, to
# see the motion of small things before pooling removes it.
_base_ = 'small_clips.py'

model = dict(backbone=dict(conv1_kernel=(3, 7, 7), inflate=(1, 1, 1, 1)))
