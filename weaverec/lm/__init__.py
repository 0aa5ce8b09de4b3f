"""Pre-trained language models: loading, tokens, batches, LoRA."""
