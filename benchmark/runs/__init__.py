"""From a request to a record: run, pretrain, tune, sweep, transfer."""
