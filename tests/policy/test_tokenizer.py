from __future__ import annotations

import pytest

from maxent_ray.policy.tokenizer import COUNTDOWN_CHARACTERS, build_character_tokenizer


def test_every_character_is_one_token_and_comes_back() -> None:
    tokenizer = build_character_tokenizer()
    ids = tokenizer(COUNTDOWN_CHARACTERS).input_ids
    assert ids == list(range(2, 2 + len(COUNTDOWN_CHARACTERS)))
    assert tokenizer.decode(ids) == COUNTDOWN_CHARACTERS
    assert len(tokenizer) == len(COUNTDOWN_CHARACTERS) + 2


def test_foreign_characters_are_unknown_not_dropped() -> None:
    tokenizer = build_character_tokenizer()
    assert tokenizer("1x\n").input_ids == [3, tokenizer.unk_token_id, tokenizer.unk_token_id]


@pytest.mark.parametrize(("characters", "end"), [("aab$", "$"), ("ab", "$")])
def test_a_bad_alphabet(characters: str, end: str) -> None:
    with pytest.raises(ValueError, match="must"):
        build_character_tokenizer(characters, end)
