"""OpenDKIM: its daemons, their configuration, and a restart that lets no mail out unsigned."""
