"""The pure mathematics: tensors and values in, named values out."""
