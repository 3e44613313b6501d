"""Train a logistic regression on extracted features, and measure its accuracy."""

import argparse

from command_line import Parser, tool

DESCRIPTION = """\
Train a multinomial logistic regression (L-BFGS) on the L2-normalised features of one set of videos
and measure its accuracy on another. It is the classifier of CVRL's linear evaluation without its
augmentation; configs/downstream/linear/ has that protocol itself.

TRAIN and TEST are features of tools/extract_features.py, both labelled. With features of clips, the
probe learns from each clip of TRAIN, and averages the probabilities of a video's clips in TEST.

The best --cost depends on the number of features, so try several values: the tool then chooses the
one with the best accuracy in a 5-fold cross-validation of TRAIN."""
EXAMPLE = """\
examples:
  python tools/linear_probe.py work_dirs/ucf101/train.npz work_dirs/ucf101/test.npz \\
      --out work_dirs/ucf101/probe.json
  python tools/linear_probe.py work_dirs/ucf101/train.npz work_dirs/ucf101/test.npz \\
      --cost 1 10 100 1000 --out work_dirs/ucf101/probe.json"""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(DESCRIPTION, EXAMPLE)
    parser.add_argument('train', metavar='TRAIN', help='features to train on')
    parser.add_argument('test', metavar='TEST', help='features to classify')
    parser.add_allow_different()
    parser.add_argument('--out', required=True, metavar='JSON', help='file for the result')
    parser.add_argument(
        '--cost',
        type=float,
        nargs='+',
        default=[1.0],
        metavar='C',
        help='weight of the loss against the regulariser, one or several (default: 1)',
    )
    parser.add_argument(
        '--raw', action='store_true', help='use the raw features, without L2 normalisation'
    )
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    """Load both sets, evaluate, write and print."""
    from mmssl_video.evaluation import linear_probe
    from mmssl_video.evaluation.classification import summary
    from mmssl_video.evaluation.features import load_pair
    from mmssl_video.files import write_json

    train, test = load_pair(args.train, args.test, args.allow_different)
    result = linear_probe(train, test, args.cost, l2_normalize=not args.raw)
    write_json(args.out, result | {'arguments': vars(args)})
    print(f'linear probe, C = {result["C"]:g}: {summary(result)}\nwritten to {args.out}')


if __name__ == '__main__':
    main()
