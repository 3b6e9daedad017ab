"""Figures of the report, as SVG text inside a page; one kind a module."""
