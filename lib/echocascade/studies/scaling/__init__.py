"""Scale on paper: what n GPUs give, from counted FLOPs and bytes and declared rates."""
