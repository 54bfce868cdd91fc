"""How the base that `unembed adapt` begins with is made: a network that reads maps of many embedders."""
