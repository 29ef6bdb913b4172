"""The blinded reader study: its design, its clips, its answers, and what they show."""
