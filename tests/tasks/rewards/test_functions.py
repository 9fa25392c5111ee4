from __future__ import annotations

import pytest

from maxent_ray.errors import ConfigError
from maxent_ray.tasks.rewards.functions import check_arguments

HERE = "tests.tasks.rewards.functions_for_tests"


@pytest.mark.parametrize("name", ["length", "right", "named_alone"])
def test_functions_whose_columns_are_there(name: str) -> None:
    check_arguments(f"{HERE}:{name}", ["answer"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (f"{HERE}:needs_solution", "needs the column 'solution'; the data has: answer"),
        (f"{HERE}:needs_ids", "needs completion_ids, which TRL's trainer passes and this one does not"),
        (f"{HERE}:nothing", f"{HERE} has no 'nothing'"),
        ("no_such_module:f", "there is no module 'no_such_module'"),
        ("math_verified", "has 'math_verified'; valid: math_verify, or an import path module:function"),
    ],
)
def test_what_cannot_be_called_is_refused_before_a_run(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_arguments(name, ["answer"])
