"""The rules by which the stand-ins know test persons: same input, same answer, no list to keep."""

from __future__ import annotations

from datetime import date

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def id_number_is_sound(number: str) -> bool:
    """Resident identity number per GB 11643-1999: 17 digits, a real birth date, the check character."""
    number = number.upper()
    if len(number) != 18 or not number.isascii() or not number[:17].isdigit():
        return False
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number[:17], strict=True))
    return number[17] == "10X98765432"[total % 11]


def card_number_is_sound(number: str) -> bool:
    """Bank card number: 13 to 19 digits with the Luhn check (ISO/IEC 7812-1)."""
    if not (13 <= len(number) <= 19 and number.isascii() and number.isdigit()):
        return False
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[0::2]) + sum(doubled)) % 10 == 0


def phone_is_sound(phone: str) -> bool:
    """Mainland mobile number: 11 digits beginning with 13 to 19."""
    return len(phone) == 11 and phone.isascii() and phone.isdigit() and phone[0] == "1" and phone[1] >= "3"


def name_matches(name: str, id_number: str) -> bool:
    """The register knows this name under this number, unless the name contains 假."""
    return len(name.strip()) >= 2 and "假" not in name and id_number_is_sound(id_number)
