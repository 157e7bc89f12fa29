"""
Tables of mail set-ups whose own programs the tests don't have, and the changes of their tools.

The statements are written for the tests, after each program's documentation and source. They have
its types of flags and names, keys, foreign keys and special rows, and its order of deletion.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The role that owns each program's tables.
ROLE = "panel"


@dataclass(frozen=True)
class MailSchema:
    """
    A program's tables with some domains in them.

    database
        The pillar ``dkim:database`` for the tables: a preset, or the tables by name.
    sql
        The statements that make and fill the tables, run as ``ROLE`` in schema ``public``.
    columns
        The columns with domain names, as (table, column), the column of ``domains`` first.
    hosted
        The domains that send mail. Every other name in the tables gets no key.
    deletes, renames, switches_off, switches_on
        The statements of the program's own tool; empty if the program has no such action. The
        renamed domain is ``rename.example``, which becomes ``renamed.example``.
    deleted
        The hosted domains that ``deletes`` removes.
    nameless
        The number of enabled rows without a valid domain name.
    not_counted
        The number of rows that are disabled by their flags.
    is_howto
        Whether the tables are those of the howto.
    """

    database: Mapping[str, Any]
    sql: str
    columns: tuple[tuple[str, str], ...]
    hosted: frozenset[str]
    deletes: tuple[str, ...]
    deleted: frozenset[str] = frozenset({"delete.example"})
    renames: tuple[str, ...] = ()
    switches_off: tuple[str, ...] = ()
    switches_on: tuple[str, ...] = ()
    nameless: int = 0
    not_counted: int = 0
    is_howto: bool = field(default=False)


_GOOD = frozenset({"good.example", "mixed.example", "delete.example", "rename.example"})
_SWITCHED = _GOOD | {"switch.example", "alias.example"}


def _one_by_one(tables: str, condition: str) -> tuple[str, ...]:
    return tuple(f"DELETE FROM {table} WHERE {condition}" for table in tables.split())


def _tables_by_domain(tables: str) -> str:
    """Return statements for tables from which the tests only delete a domain's rows."""
    return "".join(
        f"CREATE TABLE {table} (id serial PRIMARY KEY, domain varchar(255) NOT NULL);"
        f"INSERT INTO {table} (domain) VALUES ('delete.example'), ('good.example');"
        for table in tables.split()
    )


_IREDMAIL_TABLES = (
    "alias domain_admins mailbox recipient_bcc_domain recipient_bcc_user sender_bcc_domain "
    "sender_bcc_user forwardings moderators used_quota"
)
_POSTFIXADMIN_TABLES = "domain_admins alias mailbox"
_POSTFIXADMIN_LATER = "vacation vacation_notification quota quota2 fetchmail log"

SCHEMAS = {
    # Only domain_admins has 'ALL'; the flags are numbers; there are no foreign keys.
    "iredmail": MailSchema(
        database={"preset": "iredmail"},
        sql=(
            "CREATE TABLE domain (domain varchar(255) NOT NULL DEFAULT '' PRIMARY KEY,"
            " description text NOT NULL DEFAULT '', settings text NOT NULL DEFAULT '',"
            " transport varchar(255) NOT NULL DEFAULT 'dovecot', backupmx int2 NOT NULL DEFAULT 0,"
            " expired timestamp NOT NULL DEFAULT '9999-12-31', active int2 NOT NULL DEFAULT 1);"
            "CREATE INDEX idx_domain_active ON domain (active);"
            "CREATE TABLE alias_domain (alias_domain varchar(255) NOT NULL PRIMARY KEY,"
            " target_domain varchar(255) NOT NULL DEFAULT '', active int2 NOT NULL DEFAULT 1);"
            f"{_tables_by_domain(_IREDMAIL_TABLES)}"
            "INSERT INTO domain_admins (domain) VALUES ('ALL');"
            "INSERT INTO domain (domain, backupmx, active) VALUES ('good.example', 0, 1),"
            " ('Mixed.Example', 0, 1), ('delete.example', 0, 1), ('rename.example', 0, 1),"
            " ('switch.example', 0, 1), ('off.example', 0, 0), ('relay.example', 1, 1), ('', 0, 1);"
            "INSERT INTO alias_domain VALUES ('alias.example', 'good.example', 1),"
            " ('delete-alias.example', 'delete.example', 1),"
            " ('off-alias.example', 'good.example', 0)"
        ),
        columns=(("domain", "domain"), ("alias_domain", "alias_domain")),
        hosted=_SWITCHED | {"delete-alias.example"},
        # The first statement deletes the domain itself, the last one its alias domains.
        deletes=(
            "DELETE FROM domain WHERE domain IN ('delete.example')",
            *_one_by_one(_IREDMAIL_TABLES, "domain IN ('delete.example')"),
            "DELETE FROM alias_domain WHERE alias_domain IN ('delete.example')"
            " OR target_domain IN ('delete.example')",
        ),
        deleted=frozenset({"delete.example", "delete-alias.example"}),
        renames=("UPDATE domain SET domain = 'renamed.example' WHERE domain = 'rename.example'",),
        switches_off=("UPDATE domain SET active = 0 WHERE domain = 'switch.example'",),
        switches_on=("UPDATE domain SET active = 1 WHERE domain = 'switch.example'",),
        nameless=1,
        not_counted=3,
    ),
    # The row 'admin' of Vexim's super-user is enabled, and has no type.
    "vexim": MailSchema(
        database={"preset": "vexim"},
        sql=(
            "CREATE TABLE domains (domain_id serial PRIMARY KEY,"
            " domain varchar(255) NOT NULL DEFAULT '' UNIQUE, maildir varchar(4096) NOT NULL"
            " DEFAULT '', enabled smallint NOT NULL DEFAULT 1 CHECK (enabled BETWEEN 0 AND 1),"
            " type varchar(5));"
            "CREATE TABLE users (user_id serial PRIMARY KEY, domain_id int NOT NULL REFERENCES"
            " domains ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, username varchar(255));"
            "CREATE TABLE blocklists (block_id serial PRIMARY KEY, domain_id int NOT NULL"
            " REFERENCES domains ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
            " user_id int REFERENCES users ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);"
            "CREATE TABLE domainalias (domain_id int NOT NULL REFERENCES domains ON DELETE CASCADE"
            " DEFERRABLE INITIALLY DEFERRED, alias varchar(255) PRIMARY KEY);"
            "INSERT INTO domains (domain, enabled, type) VALUES ('admin', 1, NULL),"
            " ('good.example', 1, 'local'), ('Mixed.Example', 1, 'local'),"
            " ('delete.example', 1, 'local'), ('rename.example', 1, 'local'),"
            " ('switch.example', 1, 'local'), ('off.example', 0, 'local'),"
            " ('relay.example', 1, 'relay');"
            "INSERT INTO users (domain_id, username) VALUES (1, 'siteadmin'),"
            " (4, 'user@delete.example');"
            "INSERT INTO blocklists (domain_id, user_id) VALUES (4, 2);"
            "INSERT INTO domainalias VALUES (2, 'alias.example'), (4, 'delete-alias.example')"
        ),
        columns=(("domains", "domain"), ("domainalias", "alias")),
        hosted=_SWITCHED | {"delete-alias.example"},
        deletes=_one_by_one("users blocklists domainalias domains", "domain_id = 4"),
        deleted=frozenset({"delete.example", "delete-alias.example"}),
        renames=("UPDATE domains SET domain = 'renamed.example' WHERE domain = 'rename.example'",),
        switches_off=("UPDATE domains SET enabled = 0 WHERE domain = 'switch.example'",),
        switches_on=("UPDATE domains SET enabled = 1 WHERE domain = 'switch.example'",),
        not_counted=3,
    ),
    # There are no flags, and a name may occur twice.
    "ispmail": MailSchema(
        database={"preset": "ispmail"},
        sql=(
            "CREATE TABLE virtual_domains (id serial PRIMARY KEY, name varchar(50) NOT NULL);"
            "CREATE TABLE virtual_users (id serial PRIMARY KEY, domain_id int NOT NULL REFERENCES"
            " virtual_domains ON DELETE CASCADE, email varchar(100) NOT NULL UNIQUE,"
            " password varchar(150) NOT NULL, quota bigint NOT NULL DEFAULT 0);"
            "CREATE TABLE virtual_aliases (id serial PRIMARY KEY, domain_id int NOT NULL REFERENCES"
            " virtual_domains ON DELETE CASCADE, source varchar(100) NOT NULL,"
            " destination varchar(100) NOT NULL);"
            "INSERT INTO virtual_domains (name) VALUES ('good.example'), ('good.example'),"
            " ('Mixed.Example'), ('delete.example'), ('rename.example'), ('alias.example'),"
            " ('localhost');"
            "INSERT INTO virtual_users (domain_id, email, password) VALUES"
            " (4, 'user@delete.example', '');"
            "INSERT INTO virtual_aliases (domain_id, source, destination) VALUES"
            " (6, '@alias.example', '@good.example'), (4, 'a@delete.example', 'user@good.example')"
        ),
        columns=(("virtual_domains", "name"),),
        hosted=_GOOD | {"alias.example"},
        deletes=("DELETE FROM virtual_domains WHERE name = 'delete.example'",),
        renames=(
            "UPDATE virtual_domains SET name = 'renamed.example' WHERE name = 'rename.example'",
        ),
        nameless=1,
    ),
    # 'ALL' stands for every domain in the table of admins; an alias domain is a row of both tables.
    "postfixadmin": MailSchema(
        database={"preset": "postfixadmin"},
        sql=(
            "CREATE TABLE domain (domain varchar(255) PRIMARY KEY, description varchar(255) NOT"
            " NULL DEFAULT '', transport varchar(255), backupmx boolean NOT NULL DEFAULT false,"
            " modified timestamptz DEFAULT now(), active boolean NOT NULL DEFAULT true);"
            "CREATE TABLE alias_domain (alias_domain varchar(255) PRIMARY KEY REFERENCES domain,"
            " target_domain varchar(255) NOT NULL REFERENCES domain,"
            " active boolean NOT NULL DEFAULT true);"
            f"{_tables_by_domain(f'{_POSTFIXADMIN_TABLES} {_POSTFIXADMIN_LATER}')}"
            "ALTER TABLE mailbox ADD FOREIGN KEY (domain) REFERENCES domain NOT VALID;"
            "INSERT INTO domain (domain, backupmx, active) VALUES ('ALL', false, true),"
            " ('good.example', false, true), ('mixed.example', false, true),"
            " ('delete.example', false, true), ('rename.example', false, true),"
            " ('switch.example', false, true), ('alias.example', false, true),"
            " ('off.example', false, false), ('relay.example', true, true);"
            "INSERT INTO alias_domain VALUES ('alias.example', 'good.example', true)"
        ),
        columns=(("domain", "domain"), ("alias_domain", "alias_domain")),
        hosted=_SWITCHED,
        deletes=(
            *_one_by_one(_POSTFIXADMIN_TABLES, "domain = 'delete.example'"),
            "DELETE FROM alias_domain WHERE alias_domain = 'delete.example'",
            *_one_by_one(f"{_POSTFIXADMIN_LATER} domain", "domain = 'delete.example'"),
        ),
        # PostfixAdmin cannot rename; SQL can rename a domain without mailboxes and aliases.
        renames=("UPDATE domain SET domain = 'renamed.example' WHERE domain = 'rename.example'",),
        switches_off=(
            "UPDATE domain SET active = false, modified = now() WHERE domain = 'switch.example'",
        ),
        switches_on=(
            "UPDATE domain SET active = true, modified = now() WHERE domain = 'switch.example'",
        ),
        nameless=1,
        not_counted=2,
    ),
    # A deletion is one transaction; foreign keys are checked at its end.
    "modoboa": MailSchema(
        database={"preset": "modoboa"},
        sql=(
            "CREATE TABLE admin_domain (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
            " name varchar(253) NOT NULL UNIQUE, enabled boolean NOT NULL,"
            " type varchar(20) NOT NULL, enable_dkim boolean NOT NULL DEFAULT false);"
            "CREATE TABLE admin_domainalias (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
            " name varchar(254) NOT NULL UNIQUE, enabled boolean NOT NULL,"
            " target_id int NOT NULL REFERENCES admin_domain DEFERRABLE INITIALLY DEFERRED);"
            "INSERT INTO admin_domain (name, enabled, type) VALUES"
            " ('good.example', true, 'domain'), ('Mixed.Example', true, 'domain'),"
            " ('delete.example', true, 'domain'), ('rename.example', true, 'domain'),"
            " ('switch.example', true, 'domain'), ('off.example', false, 'domain'),"
            " ('relay.example', true, 'relaydomain');"
            "INSERT INTO admin_domainalias (name, enabled, target_id) VALUES"
            " ('alias.example', true, 1), ('delete-alias.example', true, 3),"
            " ('off-alias.example', false, 1)"
        ),
        columns=(("admin_domain", "name"), ("admin_domainalias", "name")),
        hosted=_SWITCHED | {"delete-alias.example"},
        deletes=(
            "BEGIN; DELETE FROM admin_domain WHERE id IN (3);"
            " DELETE FROM admin_domainalias WHERE target_id IN (3); COMMIT",
        ),
        deleted=frozenset({"delete.example", "delete-alias.example"}),
        renames=("UPDATE admin_domain SET name = 'renamed.example' WHERE name = 'rename.example'",),
        switches_off=("UPDATE admin_domain SET enabled = false WHERE name = 'switch.example'",),
        switches_on=("UPDATE admin_domain SET enabled = true WHERE name = 'switch.example'",),
        not_counted=3,
    ),
    # PostfixAdmin's names, and no table of alias domains.
    "vimbadmin": MailSchema(
        database={
            "domains": {
                "table": "domain",
                "name": "domain",
                "only": {"active": True, "backupmx": False},
            }
        },
        sql=(
            "CREATE TABLE domain (id bigserial PRIMARY KEY, domain varchar(255) UNIQUE,"
            " description varchar(255), active boolean NOT NULL DEFAULT true,"
            " backupmx boolean NOT NULL DEFAULT false);"
            'CREATE TABLE mailbox (id bigserial PRIMARY KEY, "Domain_id" bigint REFERENCES domain,'
            " username varchar(255));"
            "INSERT INTO domain (domain, active, backupmx) VALUES ('good.example', true, false),"
            " ('Mixed.Example', true, false), ('delete.example', true, false),"
            " ('rename.example', true, false), ('switch.example', true, false),"
            " ('off.example', false, false), ('relay.example', true, true), (NULL, true, false);"
            """INSERT INTO mailbox ("Domain_id", username) VALUES (3, 'user@delete.example')"""
        ),
        columns=(("domain", "domain"),),
        hosted=_GOOD | {"switch.example"},
        deletes=(
            'DELETE FROM mailbox WHERE "Domain_id" = 3',
            "DELETE FROM domain WHERE domain = 'delete.example'",
        ),
        renames=("UPDATE domain SET domain = 'renamed.example' WHERE domain = 'rename.example'",),
        switches_off=("UPDATE domain SET active = false WHERE domain = 'switch.example'",),
        switches_on=("UPDATE domain SET active = true WHERE domain = 'switch.example'",),
        nameless=1,
        not_counted=2,
    ),
    # A domain and its alias domains share a gid.
    "vmm": MailSchema(
        database={"domains": {"table": "domain_name", "name": "domainname"}},
        sql=(
            "CREATE TABLE domain_data (gid bigint PRIMARY KEY, domaindir varchar(40) NOT NULL);"
            "CREATE TABLE domain_name (domainname varchar(255) PRIMARY KEY,"
            " gid bigint NOT NULL REFERENCES domain_data, is_primary boolean NOT NULL);"
            "CREATE TABLE users (uid bigserial PRIMARY KEY, gid bigint NOT NULL REFERENCES"
            " domain_data, local_part varchar(64) NOT NULL);"
            "CREATE TABLE alias (gid bigint NOT NULL REFERENCES domain_data,"
            " address varchar(64) NOT NULL, destination varchar(320) NOT NULL);"
            "CREATE TABLE relocated (gid bigint NOT NULL REFERENCES domain_data,"
            " address varchar(64) NOT NULL, destination varchar(320) NOT NULL);"
            "INSERT INTO domain_data SELECT n, '/srv/mail/' || n FROM generate_series(1, 4) AS n;"
            "INSERT INTO domain_name VALUES ('good.example', 1, true),"
            " ('alias.example', 1, false), ('mixed.example', 2, true), ('delete.example', 3, true),"
            " ('delete-alias.example', 3, false), ('rename.example', 4, true);"
            "INSERT INTO users (gid, local_part) VALUES (3, 'user');"
            "INSERT INTO alias VALUES (3, 'a', 'user@delete.example');"
            "INSERT INTO relocated VALUES (3, 'b', 'user@good.example')"
        ),
        columns=(("domain_name", "domainname"),),
        hosted=_GOOD | {"alias.example", "delete-alias.example"},
        deletes=_one_by_one("alias users relocated domain_name domain_data", "gid = 3"),
        deleted=frozenset({"delete.example", "delete-alias.example"}),
        renames=(
            "UPDATE domain_name SET domainname = 'renamed.example'"
            " WHERE domainname = 'rename.example'",
        ),
    ),
    # The howto's table of keys refers to the domains.
    "howto": MailSchema(
        database={"preset": "howto", "close_keys": True},
        sql=(
            "CREATE TABLE domains (id serial PRIMARY KEY, domain text NOT NULL UNIQUE);"
            "CREATE TABLE dkim (id serial PRIMARY KEY, domain_id integer NOT NULL REFERENCES"
            " domains(id), selector text NOT NULL DEFAULT 'default', key text NOT NULL,"
            " UNIQUE (domain_id, selector));"
            "INSERT INTO domains (domain) VALUES ('good.example'), ('Mixed.Example'),"
            " ('delete.example'), ('rename.example'), ('alias.example'), ('ALL')"
        ),
        columns=(("domains", "domain"),),
        hosted=_GOOD | {"alias.example"},
        deletes=("DELETE FROM domains WHERE domain = 'delete.example'",),
        renames=("UPDATE domains SET domain = 'renamed.example' WHERE domain = 'rename.example'",),
        nameless=1,
        is_howto=True,
    ),
}
