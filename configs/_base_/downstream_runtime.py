# What downstream configs add to MMAction2's own runtime.
custom_imports = dict(imports=['mmssl_video'], allow_failed_imports=False)
custom_hooks = [
    dict(type='BackboneLoadHook'),
    dict(type='ResumeCheckHook'),
    dict(type='FiniteLossHook'),
    dict(type='BadVideosHook'),
    dict(type='LoneSampleHook'),
]
