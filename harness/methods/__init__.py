"""The interface of methods, how they are found, and checks of them."""
