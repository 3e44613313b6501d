"""The demo: which videos it takes for what, and one small run from videos to report."""

import json
import re

import pytest
from tiny_vclr import load_tool

from mmssl_video.errors import UserError

demo = load_tool('demo')


def lines(path):
    return path.read_text().splitlines()


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_flat_folder_has_no_labels(tmp_path):
    touch(tmp_path / 'v', 'a.mp4', 'b.AVI', 'c.mkv', 'sub/d.webm', 'notes.txt')
    videos = demo.find_videos(tmp_path / 'v', tmp_path / 'out', seed=0)
    assert lines(videos.pretrain_list) == ['a.mp4', 'b.AVI', 'c.mkv', 'sub/d.webm']
    assert videos.class_names == [] and videos.num_pretrain == 4
    assert lines(videos.query_list) == []


def test_class_folders_are_split_and_queries_held_out(tmp_path):
    names = [f'{name}/{i}.mp4' for name, count in (('run', 9), ('sit', 4)) for i in range(count)]
    touch(tmp_path / 'v', *names)
    videos = demo.find_videos(tmp_path / 'v', tmp_path / 'out', seed=0)
    gallery, query = lines(videos.gallery_list), lines(videos.query_list)
    assert videos.class_names == ['run', 'sit']
    assert sorted(line.split()[0] for line in gallery + query) == sorted(names)
    assert [sum(line.endswith(f' {label}') for line in query) for label in (0, 1)] == [3, 1]
    assert all(line.startswith(videos.class_names[int(line[-1])]) for line in gallery + query)
    assert lines(videos.pretrain_list) == [line.split()[0] for line in gallery]
    other = demo.find_videos(tmp_path / 'v', tmp_path / 'other', seed=1)
    assert lines(other.query_list) != query


@pytest.mark.parametrize('count', [0, 3])
def test_too_few_videos_is_one_line(tmp_path, count):
    touch(tmp_path, *(f'{i}.mp4' for i in range(count)), 'notes.txt')
    with pytest.raises(UserError, match=rf'holds {count} videos .* 4 or more') as error:
        demo.find_videos(tmp_path, tmp_path / 'out', seed=0)
    assert '\n' not in str(error.value)


def test_missing_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match='no such folder'):
        demo.find_videos(tmp_path / 'absent', tmp_path / 'out', seed=0)


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
    for features in ('pretrained', 'random', 'pixels', 'chance'):
        assert set(metrics[features]) == frozen | (trained if features != 'pixels' else set())
        assert all(0 <= value <= 100 for value in metrics[features].values())
    assert metrics['pretrained'] != metrics['random']
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert all(f'>{name}<' in page for name in ('inter', 'intra', 'video', 'order'))
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


def test_commands_of_the_report_name_files_that_exist(tmp_path):
    touch(tmp_path / 'v', *(f'{name}/{i}.mp4' for name in ('run', 'sit') for i in range(3)))
    videos = demo.find_videos(tmp_path / 'v', tmp_path / 'out', seed=0)
    commands = ' '.join(command for _, command in demo.next_commands(videos, tmp_path / 'x.pth'))
    for path in re.findall(r'--ann-file (\S+)|--data-root (\S+)|(tools/\w+\.\w+)', commands):
        assert (demo.ROOT / next(filter(None, path))).exists()
