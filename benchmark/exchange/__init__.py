"""Files for and from other frameworks: events of a split out, predictions of them back."""
