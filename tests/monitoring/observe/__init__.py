"""``make observe``: the real Prometheus, a system under load with faults, and every expression.

It runs each expression of ``deploy/grafana`` and of ``deploy/prometheus`` until it has returned
data, and prints what it saw.
"""
