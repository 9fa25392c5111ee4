from __future__ import annotations

from pathlib import Path

from maxent_ray.storage.json_lines import append
from maxent_ray.storage.run_files import SAMPLES, read_samples, sample_records, truncate_partial_lines


def line(step: int, text: str) -> dict[str, object]:
    answers = [{"text": text, "reward": 0.0, "mode": None}]
    (record,) = sample_records("mine", "analytic", step, [{"prompt": "2,3=5:", "modes": 1, "answers": answers}])
    return record


def test_of_two_samples_of_one_evaluation_the_later_counts(tmp_path: Path) -> None:
    path = tmp_path / SAMPLES
    append(path, [line(0, "2"), line(8, "3"), line(0, "2+3")])
    assert read_samples(path) == [line(0, "2+3"), line(8, "3")]


def test_a_partial_sample_is_skipped_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / SAMPLES
    append(path, [line(0, "2")])
    whole = path.read_text()
    path.write_text(whole + '{"trial": "mi')
    assert read_samples(path) == [line(0, "2")]
    truncate_partial_lines(tmp_path)
    assert path.read_text() == whole
