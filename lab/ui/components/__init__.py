"""Inputs, HTML and the theme that the page's tabs share."""
