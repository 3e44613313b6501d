"""Convert weights of torchvision, MoCo v2, VCLR's authors, SlowFast or VideoMAE, and back.

    python tools/convert_weights.py moco_v2_200ep_pretrain.pth.tar work_dirs/mocov2_r50.pth
    python tools/train.py configs/vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py \
        --cfg-options load_from=work_dirs/mocov2_r50.pth

Keys are mapped by name. The backbone fits MMAction2's recognizers too: a ResNet, or for SlowFast's
checkpoints (.pyth, among them the models of the rho family) a ResNet3dSlowOnly or ResNet3dSlowFast.
SlowFast's .pkl files are Caffe2's and cannot be read. MoCo v2's MLP initialises the projection of
every head; the heads of a VCLR checkpoint go to the heads of the same objective.

SlowFast's networks expect frames of mean 0.45 * 255 and standard deviation 0.225 * 255; our configs
have ImageNet's. Whatever uses the converted weights needs

    --cfg-options model.data_preprocessor.mean="[114.75,114.75,114.75]" \
        model.data_preprocessor.std="[57.375,57.375,57.375]"

VideoMAE's vision transformers are read in the layout of the released files and in Hugging Face's
(`pytorch_model.bin`), pretrained or fine-tuned. A classifier becomes that of MMAction2's
recognizer, a decoder is left out.

The other way, the backbone of a checkpoint of ours (the online one) gets the names of torchvision
or MoCo v2 for a 2D ResNet, of SlowFast for a 3D one, of VideoMAE or Hugging Face for a vision
transformer, which keeps its classifier. For the target backbone, see export_backbone.py.

    python tools/convert_weights.py work_dirs/RUN/epoch_200.pth slow_r50.pyth --to slowfast

A key that is unknown, or missing from the network that the names tell, is an error.
"""

import argparse
import sys
import warnings

import torch

from mmssl_video.checkpoints.conversion import (
    LAYOUTS,
    SLOWFAST_PIXELS,
    convert_weights,
    detect_format,
    to_layout,
)
from mmssl_video.checkpoints.fitting import select_backbone, tensors_of
from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError, one_line_errors
from mmssl_video.files import atomic_path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'source',
        help='checkpoint of torchvision, MoCo v2, VCLR, SlowFast or VideoMAE; with --to, of ours',
    )
    parser.add_argument('out', help='checkpoint to write')
    parser.add_argument(
        '--to', choices=('ours', *LAYOUTS), default='ours', help='layout to write (default ours)'
    )
    parser.add_argument(
        '--heads',
        nargs='*',
        default=['inter', 'intra', 'video', 'order'],
        metavar='NAME',
        help="names of the heads that MoCo v2's MLP initialises (default: VCLR's four)",
    )
    parser.add_argument(
        '--allow-missing', action='store_true', help='convert what is there of an incomplete file'
    )
    parser.add_argument(
        '--allow-unknown', action='store_true', help='leave out, and list, keys that are unknown'
    )
    parser.add_argument(
        '--trust',
        action='store_true',
        help='load a file that holds more than tensors; it can then run any code it likes',
    )
    return parser.parse_args()


@one_line_errors
def main() -> None:
    args = parse_args()
    checkpoint = load_checkpoint_file(args.source, trusted=args.trust)
    allowed = dict(allow_missing=args.allow_missing, allow_unknown=args.allow_unknown)
    warnings.showwarning = lambda message, *_: print(f'warning: {message}', file=sys.stderr)
    try:
        if args.to == 'ours':
            converted = {'state_dict': convert_weights(checkpoint, args.heads, **allowed)}
        else:
            classifier = {
                key.removeprefix('cls_head.fc_cls.'): value
                for key, value in tensors_of(checkpoint).items()
                if key.startswith('cls_head.fc_cls.')
            }
            converted = to_layout(
                select_backbone(checkpoint), args.to, **allowed, classifier=classifier
            )
    except UserError as error:
        raise UserError(f'{args.source}: {error}') from None
    with atomic_path(args.out) as temporary:
        torch.save(converted, temporary)
    if args.to == 'ours':
        tensors = converted['state_dict']
        heads = sorted(
            {'.'.join(key.split('.')[:3]) for key in tensors if key[:6] == 'heads.'}
            | {'cls_head' for key in tensors if key.startswith('cls_head.')}
        )
        print(f'{args.out}: {len(tensors)} tensors for the backbone and {heads or "no head"}')
        if detect_format(tensors_of(checkpoint)) == 'slowfast':
            print(
                f"note: SlowFast's mean and std are not our configs'; use it with {SLOWFAST_PIXELS}"
            )
    else:
        print(f"{args.out}: the backbone's tensors in the names of {args.to}")


if __name__ == '__main__':
    sys.exit(main())
