# Parts of pipelines that read videos. How a video is opened and decoded is said here and nowhere
# else; all other configs name these parts.
open_video = dict(type='VideoInit')
decode_video = dict(type='VideoDecode')
load_motion = dict(type='LoadMotion')
flip = dict(type='Flip', flip_ratio=0.5)
# Views of pretraining, of frames (2D networks) or clips (3D networks).
format_frames = dict(type='FormatViews', input_format='NCHW')
format_clips = dict(type='FormatViews', input_format='NCTHW')
# Features and labelled videos: MMAction2's shapes, without views.
shape_frames = dict(type='FormatShape', input_format='NCHW')
shape_clips = dict(type='FormatShape', input_format='NCTHW')
pack = dict(type='PackViews')
