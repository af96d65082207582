"""The fingerprint of a failure keeps codes such as `HTTP 404` and `ORA-00942`, and leaves out addresses and names."""

from django.db import migrations

# As 0012 has it, with three changes: e-mail addresses and the names of people after a word for a person are replaced, and
# a number is kept after a word for a code. Stored fingerprints stay, so a cause that failed before starts a new group once.
FINGERPRINT = r"""
CREATE OR REPLACE FUNCTION failure_fingerprint(code text, message text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT left(encode(sha256(convert_to(code || chr(10) || left(
        regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
        regexp_replace(message,
            '[[:space:]]+', ' ', 'g'),
            '[^][[:space:]()<>"'',;:=]+@[[:alnum:]._-]+[.][[:alnum:]]+', '#', 'g'),
            '(?<![0-9A-Za-z])(''[^'']*''|"[^"]*"|`[^`]*`|“[^”]*”|‘[^’]*’|«[^»]*»)(?![0-9A-Za-z])', '#', 'g'),
            '\m((?:[Uu]ser|[Cc]ustomer|[Cc]lient|[Mm]ember|[Pp]erson|[Pp]atient|[Ee]mployee|[Oo]wner|[Aa]ccount|[Rr]ecipient'
                '|[Ss]ender|[Nn]ame[d]?)[ :=]+)'
                '(?:[[:upper:]][[:alpha:]''-]*[.]?)(?: [[:upper:]][[:alpha:]''-]*[.]?)*', '\1#', 'g'),
            '[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}', '#', 'g'),
            '(?<![0-9A-Za-z]|[0-9][.])(0[xX][0-9a-fA-F]+|(?=[0-9]*[a-fA-F])([0-9a-fA-F]{8,}|(?=[a-fA-F]*[0-9])[0-9a-fA-F]{4,}))(?![0-9A-Za-z])',
            '#', 'g'),
            '(?<!\m(?:HTTP(?:/[0-9.]+)?|SMTP|ORA|TNS|PLS|SQL|SQLSTATE|[Ee]rrno|[Ss]tatus|[Cc]ode|[Ee]xit|[Ss]ignal)[ :=#-]{0,2}[0-9]*)'
                '[-+]?[0-9]+([.,:][0-9]+)*([eE][-+]?[0-9]+)?', '#', 'g'),
            '#([ ,;]*#)+', '#', 'g'),
        256), 'UTF8')), 'hex'), 32)
$$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0023_unknown_outcomes"),)

    operations = (migrations.RunSQL(FINGERPRINT, migrations.RunSQL.noop),)
