"""Dashboards for Grafana, written from one table of panels.

``python -m orchestrator.monitoring.dashboards FOLDER`` writes one JSON file for each dashboard;
``make dashboards`` writes ``deploy/grafana``, and a test fails when a file is stale.
"""
