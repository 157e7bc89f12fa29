"""PostgreSQL: sessions, the database, its roles, and which comments mark what the formula made."""
