# What linear probes add to the downstream runtime. A probe uses MMEngine's hooks and these instead
# of MMAction2's: `default_hooks = dict(_delete_=True, **_base_.linear_hooks)`. So it has no
# SyncBuffersHook, whose mean over all processes would round the frozen statistics.
_base_ = 'downstream_runtime.py'

linear_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=10, max_keep_ckpts=1, save_best='auto')
)
