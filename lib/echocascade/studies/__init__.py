"""Studies of a trained cascade: the counterfactual protocol; later the readers and rebalancing."""
