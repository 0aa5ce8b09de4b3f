"""RecBole's sequential models: classes and losses as they are, data and training loop ours."""
