"""A language model as a ranker: a prompt with candidates, and the answer's likelihood."""
