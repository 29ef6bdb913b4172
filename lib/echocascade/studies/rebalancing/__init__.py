"""Downstream rebalancing: rare hearts generated where a data set has few (FACTS Sec. 6)."""
