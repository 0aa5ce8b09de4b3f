"""Methods that are not WeaveRec."""
