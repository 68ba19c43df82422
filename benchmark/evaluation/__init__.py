"""From a trained model to counts and scores."""
