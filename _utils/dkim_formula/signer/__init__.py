"""OpenDKIM: its daemons, their configuration, watchdog and restart, and the headers they sign."""
