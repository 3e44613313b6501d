"""The demo: which videos it takes for what, and one small run from videos to report."""

import json
import re

import pytest
from tiny_vclr import load_tool

demo = load_tool('demo')


def lines(path):
    return path.read_text().splitlines()


def touch(folder, *names):
    """Files that look like videos to whoever does not decode them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'\0')


@pytest.fixture
def classes(tmp_path):
    """Two class folders, with three films of three clips each."""
    clips = [f'{film}_{clip}.mp4' for film in ('one', 'two', 'three') for clip in range(3)]
    touch(tmp_path / 'v', *(f'{name}/{clip}' for name in ('run', 'sit') for clip in clips))
    return tmp_path / 'v'


def test_lists_of_a_folder(classes, tmp_path, capsys):
    """They are in the work directory; labels are not in the first."""
    videos, work_dir = demo.find_videos(classes, tmp_path / 'out', seed=0)
    gallery, query = lines(videos.gallery_list), lines(videos.query_list)
    assert {path.parent for path in (videos.pretrain_list, videos.query_list)} == {work_dir}
    assert videos.class_names == ['run', 'sit'] and videos.num_pretrain == 12
    assert len(gallery + query) == 18 and len(query) == 6
    assert all(line.startswith(videos.class_names[int(line[-1])]) for line in gallery + query)
    assert lines(videos.pretrain_list) == [line.split()[0] for line in gallery]
    told = ' '.join(capsys.readouterr().err.split())
    assert videos.notes[0] in told and 'clips of one source' in told


def test_a_folder_without_labels(tmp_path):
    touch(tmp_path / 'v', 'a.mp4', 'b.AVI', 'c.mkv', 'sub/d.webm')
    videos, _ = demo.find_videos(tmp_path / 'v', tmp_path / 'out', seed=0)
    assert lines(videos.pretrain_list) == ['a.mp4', 'b.AVI', 'c.mkv', 'sub/d.webm']
    assert videos.class_names == [] and videos.num_pretrain == 4
    assert lines(videos.gallery_list) == lines(videos.query_list) == []


def test_a_run_goes_on_unless_videos_or_lists_change(classes, tmp_path, capsys):
    def run(seed=0):
        work_dir = demo.find_videos(classes, tmp_path / 'out', seed)[1]
        return work_dir, 'starts anew' in capsys.readouterr().err

    first, anew = run()
    assert not anew
    touch(classes, 'notes.txt', 'run/cover.jpg', 'x.zip', 'run/.hidden.mp4')
    assert run() == (first, False)
    other_seed, anew = run(seed=1)
    assert other_seed != first and not anew
    touch(classes, 'run/four_0.mp4')
    second, anew = run()
    assert second != first and anew
    assert run() == (second, False)
    (classes / 'run/four_0.mp4').unlink()
    assert run() == (first, False)  # what it was
    for name, film in (('train', 'one'), ('test', 'two')):
        (classes / f'{name}.txt').write_text(
            ''.join(
                f'{c}/{film}_{n}.mp4 {k}\n' for k, c in enumerate(('run', 'sit')) for n in range(3)
            )
        )
    assert run()[0] not in (first, second)


def test_what_does_no_worse_than_pretraining_is_told():
    """Each baseline by the figures in which it does; pictures alike far above chance."""
    metrics = {
        'pretrained': {'R@1': 30.0, 'R@5': 50.0, 'svm_top1': 40.0, 'probe_top1': 45.0},
        'random': {'R@1': 30.0, 'R@5': 10.0, 'svm_top1': 39.9, 'probe_top1': 10.0},
        'mean_frame': {'R@1': 10.0, 'R@5': 90.0, 'svm_top1': 10.0, 'probe_top1': 10.0},
        'frame_difference': {'R@1': 20.0, 'R@5': 30.0, 'svm_top1': 41.0, 'probe_top1': 46.0},
        'chance': {'R@1': 5.0, 'R@5': 20.0, 'svm_top1': 5.0, 'probe_top1': 5.0},
    }
    assert demo.compare(metrics) == [
        'The same network with random weights finds as much or more: Retrieval R@1 30.0 '
        '(pretrained 30.0); see docs/choosing.md.',
        'The frame difference, with no learning, finds as much or more: Linear SVM top-1 41.0 '
        '(pretrained 40.0), Linear probe top-1 46.0 (pretrained 45.0); see docs/choosing.md.',
    ]
    better = {'R@1': 70.0, 'R@5': 95.0, 'svm_top1': 80.0, 'probe_top1': 80.0}
    assert demo.compare(metrics | {'pretrained': better}) == []
    pictures = demo.compare(
        metrics | {'pretrained': better, 'mean_frame': metrics['mean_frame'] | {'R@1': 31.0}}
    )
    assert len(pictures) == 1 and 'R@1 of 31.0 (chance 5.0)' in pictures[0]


@pytest.mark.slow
def test_from_videos_to_report(tmp_path, monkeypatch):
    """A few videos and epochs; the second call finds everything done, another seed does not."""
    monkeypatch.setenv('PYTHONPATH', str(demo.ROOT))
    monkeypatch.setattr(demo, 'CLASSES', demo.CLASSES[:3])
    for name, value in (('NUM_PRETRAIN', 11), ('NUM_GALLERY', 5), ('NUM_QUERY', 2)):
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo, 'NUM_UNTRIMMED', dict(train=4, val=2))
    bmn = 'model = dict(hidden_dim_1d=8, hidden_dim_2d=4, hidden_dim_3d=8)\n'
    for name, more in (('CONFIG', ''), ('FINETUNE', ''), ('BMN', bmn)):
        config = tmp_path / getattr(demo, name).name
        config.write_text(
            f"_base_ = r'{demo.ROOT / getattr(demo, name)}'\n"
            'train_cfg = dict(max_epochs=3)\n'
            'default_hooks = dict(checkpoint=dict(interval=3))\n'
            f'param_scheduler = [dict(type="ConstantLR", factor=1.0)]\n{more}'
        )
        monkeypatch.setattr(demo, name, config)
    monkeypatch.setattr('sys.argv', ['demo.py', '--seed', '5', '--out', str(tmp_path / 'out')])
    demo.main()
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert metrics['seed'] == 5 and metrics['seconds'] > 0
    frozen = {'R@1', 'R@5', 'svm_top1', 'probe_top1'}
    trained = {'finetune_top1', 'proposal_auc'}
    for features in ('pretrained', 'random', 'mean_frame', 'frame_difference', 'chance'):
        trivial = features in ('mean_frame', 'frame_difference')
        assert set(metrics[features]) == frozen | (set() if trivial else trained)
        assert all(0 <= value <= 100 for value in metrics[features].values())
    assert metrics['pretrained'] != metrics['random']
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert all(f'>{name}<' in page for name in ('inter', 'intra', 'video'))
    for title in ('Nearest neighbours', 'What it looks at', 'Map of the features'):
        assert f'>{title}</h2>' in page
    assert page.count('data:image/png;base64,') == 3 and '>Actions in long videos</h2>' in page
    assert not re.search(r'(src|href)="https?:', page)

    work_dir = tmp_path / 'out' / 'pretrain-seed5'
    checkpoints = {path: path.stat().st_mtime_ns for path in work_dir.rglob('epoch_3.pth')}
    assert len(checkpoints) == 5  # pretraining; fine-tuning and BMN, each from two starts
    demo.main()
    assert checkpoints == {path: path.stat().st_mtime_ns for path in work_dir.rglob('epoch_*.pth')}
    again = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert {k: v for k, v in again.items() if k != 'seconds'} == {
        k: v for k, v in metrics.items() if k != 'seconds'
    }


def test_commands_of_the_report_name_files_that_exist(classes, tmp_path):
    videos, _ = demo.find_videos(classes, tmp_path / 'out', seed=0)
    commands = ' '.join(command for _, command in demo.next_commands(videos, tmp_path / 'x.pth'))
    for path in re.findall(r'--ann-file (\S+)|--data-root (\S+)|(tools/\w+\.\w+)', commands):
        assert (demo.ROOT / next(filter(None, path))).exists()
