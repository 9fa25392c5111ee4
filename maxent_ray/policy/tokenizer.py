"""A character-level tokenizer in the plain Hugging Face format, for small models trained from scratch."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

COUNTDOWN_CHARACTERS = "0123456789+-*/()=,:. $"
END_OF_ANSWER = "$"
PAD_TOKEN = "<pad>"
UNKNOWN_TOKEN = "<unk>"


def build_character_tokenizer(
    characters: str = COUNTDOWN_CHARACTERS, end: str = END_OF_ANSWER
) -> PreTrainedTokenizerFast:
    """Build a fast tokenizer with one token per character.

    Identifiers: 0 is padding, 1 is "unknown" (kept so that a foreign character can be reported; see
    `maxent_ray.policy.encoding.encode_prompts`), then one per character in the given order.

    Args:
        characters: The alphabet, each character once.
        end: The character of the alphabet that ends an answer (the end-of-sequence token).

    Returns:
        A left-padding tokenizer whose `save_pretrained` folder loads with `AutoTokenizer`.

    Raises:
        ValueError: A character is repeated, or `end` is not in the alphabet.

    Example:
        >>> tokenizer = build_character_tokenizer()
        >>> tokenizer.decode(tokenizer("3*(4+5)$").input_ids)
        '3*(4+5)$'
    """
    if len(set(characters)) != len(characters):
        raise ValueError(f"characters is {characters!r}; it must not repeat a character")
    if end not in characters:
        raise ValueError(f"end is {end!r}; it must be one of the characters {characters!r}")
    symbols = [PAD_TOKEN, UNKNOWN_TOKEN, *characters]
    backend = Tokenizer(
        models.WordLevel({symbol: index for index, symbol in enumerate(symbols)}, unk_token=UNKNOWN_TOKEN)
    )
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD_TOKEN,
        unk_token=UNKNOWN_TOKEN,
        eos_token=end,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
