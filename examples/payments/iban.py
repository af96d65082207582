"""International bank account numbers, ISO 13616."""

import re
from typing import Final

_LENGTHS: Final = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
LENGTH_BY_COUNTRY: Final = {country: length for length, countries in _LENGTHS.items() for country in countries.split()}
_FORM: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]+")


def iban_problem(written: str) -> str | None:
    """Return the problem of an IBAN, which may be written in groups; None if it is valid.

    Checks the country, its length and the check digits (ISO 13616), but not whether the account exists.
    """
    iban = written.replace(" ", "")
    if not iban:
        return "IBAN is missing"
    if not _FORM.fullmatch(iban):
        return f'IBAN "{written}" is malformed'
    country = iban[:2]
    if country not in LENGTH_BY_COUNTRY:
        return f"IBAN country {country} is unknown"
    if len(iban) != LENGTH_BY_COUNTRY[country]:
        return f"IBAN of {country} has {len(iban)} characters, not {LENGTH_BY_COUNTRY[country]}"
    return None if remainder(iban) == 1 else f"IBAN {iban} has wrong check digits"


def remainder(iban: str) -> int:
    """Return the remainder of an IBAN by ISO 7064 mod 97-10. It is 1 if the check digits are correct."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97
