"""Events on their way to a model: packed cache, preprocessing, augmentation, batches."""
