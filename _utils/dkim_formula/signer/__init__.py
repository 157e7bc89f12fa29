"""OpenDKIM: daemons, their configuration, restart and watchdog, and the headers to sign."""
