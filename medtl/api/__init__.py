"""What ``import medtl`` offers: one file a verb. Each reuses what the commands run; nothing here trains by itself."""
