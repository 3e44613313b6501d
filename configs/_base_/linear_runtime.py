# What linear probes add to it. A probe's hooks are MMEngine's and these, in place of MMAction2's:
# `default_hooks = dict(_delete_=True, **_base_.linear_hooks)`. So there is no SyncBuffersHook:
# the mean of all processes would round the frozen statistics.
_base_ = 'downstream_runtime.py'

linear_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=10, max_keep_ckpts=1, save_best='auto')
)
