"""What is run: plug-ins, presets, jobs, and which runs may be compared."""
