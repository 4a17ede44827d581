"""Where the work of `analyze` is done, when not here: on a cluster, by the same functions."""
