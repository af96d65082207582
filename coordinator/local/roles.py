"""The roles of a local cluster: one owns and migrates the database, one runs the product."""

from collections.abc import Callable
from typing import LiteralString

import psycopg
from psycopg import sql

DATABASE = "coordinator"
SUPERUSER = "postgres"
OWNER = "coordinator_owner"
PRODUCT = "coordinator"
_BY_DEFAULT: LiteralString = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner}"


def prepare(url: Callable[[str], str], *, owner_password: str, product_password: str) -> None:
    """Make the roles, the database and the privileges, as far as they are missing.

    `url` gives the superuser's URL of a database. The product's role gets SELECT, INSERT, UPDATE and DELETE
    on whatever tables the owner will ever make, USAGE on its sequences, and nothing more. The template has
    the same, so a test database that the owner creates needs no preparation.
    """
    with psycopg.connect(url("postgres"), autocommit=True) as connection:
        _make_role(connection, OWNER, owner_password, "CREATEDB")
        _make_role(connection, PRODUCT, product_password, "NOCREATEDB")
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
            _grant_in("template1", url)
            connection.execute(_sentence("CREATE DATABASE {database} OWNER {owner}"))
        connection.execute(_sentence("REVOKE ALL ON DATABASE {database} FROM PUBLIC"))
        connection.execute(_sentence("GRANT CONNECT ON DATABASE {database} TO {product}"))


def _make_role(connection: psycopg.Connection, name: str, password: str, rights: LiteralString) -> None:
    if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS {} PASSWORD {}").format(
                sql.Identifier(name), sql.SQL(rights), sql.Literal(password)
            )
        )


def _grant_in(database: str, url: Callable[[str], str]) -> None:
    with psycopg.connect(url(database)) as connection:
        for text in (
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "GRANT USAGE, CREATE ON SCHEMA public TO {owner}",
            "GRANT USAGE ON SCHEMA public TO {product}",
            f"{_BY_DEFAULT} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {{product}}",
            f"{_BY_DEFAULT} GRANT USAGE ON SEQUENCES TO {{product}}",
        ):
            connection.execute(_sentence(text))


def _sentence(text: LiteralString) -> sql.Composed:
    return sql.SQL(text).format(
        database=sql.Identifier(DATABASE), owner=sql.Identifier(OWNER), product=sql.Identifier(PRODUCT)
    )
