"""A language model as a retriever: texts to vectors, dot products to scores."""
