"""The methods: their settings, learning-rate groups and parameter counts. No torch at import."""
