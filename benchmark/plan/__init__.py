"""Plan a sweep: plug-ins, presets, jobs, and which runs may be compared."""
