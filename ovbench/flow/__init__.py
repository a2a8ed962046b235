"""Optical-flow backends for temporal consistency along a flow; `ovbench.metrics.flow` does the counting."""
