"""Smaller versions of fitted ensembles: pruned, cut, and measured."""
