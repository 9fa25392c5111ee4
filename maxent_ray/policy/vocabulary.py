"""Check that a model has a row for the tokens that its tokenizer makes."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from maxent_ray.errors import PolicyLoadError


def embedded_tokens(model: PreTrainedModel) -> int:
    """Number of tokens that a model embeds."""
    return model.get_input_embeddings().get_parameter("weight").shape[0]


def ordinary_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> list[int]:
    """Tokens that are not special and that the model embeds, in order."""
    ordinary = set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)
    rows = embedded_tokens(model)
    return [token for token in sorted(ordinary) if token < rows]


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, name: str) -> None:
    """Check the tokenizer of a model; it then pads with a token that the model has.

    Added tokens may lie beyond the model's rows, as in published models of text whose tokenizer also serves one of
    images: a prompt that holds one is refused when it is encoded, and an answer cannot hold one.

    Args:
        tokenizer: Its padding token may be changed.
        model: The model.
        name: Of the policy, for messages.

    Raises:
        PolicyLoadError: A token of the vocabulary proper, or the end-of-sequence token, has no row; or the tokenizer
            has special tokens alone, or the model's embedding has no plain weight.
    """
    if "weight" not in dict(model.get_input_embeddings().named_parameters(recurse=False)):
        raise PolicyLoadError(
            f"model={name!r}: its input embedding ({type(model.get_input_embeddings()).__name__}) has no plain weight "
            "with a row for each token; take a model that is not quantized or wrapped"
        )
    rows = embedded_tokens(model)
    proper = set(tokenizer.get_vocab().values()) - set(tokenizer.get_added_vocab().values())
    needed = 1 + max(proper | {int(tokenizer.eos_token_id)})  # more than its tokens where their numbers have gaps
    if needed > rows:
        raise PolicyLoadError(
            f"model={name!r}: its tokenizer needs {needed} tokens and its model embeds only {rows}; "
            "load a tokenizer that belongs to this model"
        )
    if not ordinary_tokens(tokenizer, model):
        raise PolicyLoadError(
            f"model={name!r}: its tokenizer has special tokens alone, so that no prompt can be written; "
            "load a tokenizer that belongs to this model"
        )
    if not tokenizer.pad_token or tokenizer.pad_token_id >= rows:
        tokenizer.pad_token = tokenizer.eos_token
