"""A model's life: data set, training, evaluation, thresholds, deployment."""
