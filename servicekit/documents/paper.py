"""How money and time are written on paper."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")

_DIGITS = "零壹贰叁肆伍陆柒捌玖"
_PLACES = ("", "拾", "佰", "仟")
_GROUPS = ("", "万", "亿")


def yuan(fen: int) -> str:
    """``123456789`` → ``1,234,567.89``. Negative amounts carry a leading minus."""
    sign = "-" if fen < 0 else ""
    whole, cents = divmod(abs(fen), 100)
    return f"{sign}{whole:,}.{cents:02d}"


def amount_in_words(fen: int) -> str:
    """The amount in the capital numerals of bank and contract paper (票据大写).

    After the rules for filling in notes (《支付结算办法》 appendix 1): 整 follows 元 and 角, never 分; one 零 for
    a run of zeros inside, none for trailing zeros; a 零 between 元 and 分 when there is no 角.
    Raises ValueError outside 0 ≤ amount < 10^12 yuan.
    """
    if not 0 <= fen < 10**14:
        raise ValueError("amount out of range")
    whole, cents = divmod(fen, 100)
    jiao, last = divmod(cents, 10)
    words = f"{_integer(whole)}元" if whole else ""
    if not cents:
        return f"{words or '零元'}整"
    if jiao:
        words += f"{_DIGITS[jiao]}角"
    elif words:
        words += "零"
    return words + (f"{_DIGITS[last]}分" if last else "整")


def _integer(number: int) -> str:
    groups: list[int] = []
    while number:
        number, group = divmod(number, 10_000)
        groups.append(group)
    words = ""
    gap = False
    for index in range(len(groups) - 1, -1, -1):
        group = groups[index]
        if not group:
            gap = bool(words)
            continue
        if words and (gap or group < 1000):
            words += "零"
        gap = False
        words += _group(group) + _GROUPS[index]
    return words


def _group(group: int) -> str:
    words = ""
    gap = False
    for place in range(3, -1, -1):
        digit = group // 10**place % 10
        if not digit:
            gap = bool(words)
            continue
        words += ("零" if gap else "") + _DIGITS[digit] + _PLACES[place]
        gap = False
    return words


def paper_date(moment: datetime | date) -> str:
    """``2026年3月7日``, in Asia/Shanghai where a moment is given."""
    day = moment.astimezone(SHANGHAI) if isinstance(moment, datetime) else moment
    return f"{day.year}年{day.month}月{day.day}日"


def paper_time(moment: datetime, *, seconds: bool = True) -> str:
    """``2026-03-07 16:05:09`` in Asia/Shanghai."""
    return moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def paper_period(begins: datetime, ends: datetime) -> str:
    """An insurance period as contracts say it; an end at midnight is the 24th hour of the day before."""
    first, last = begins.astimezone(SHANGHAI), ends.astimezone(SHANGHAI)

    def clock(moment: datetime) -> str:
        return f"{moment.hour}时" + (f"{moment.minute}分" if moment.minute else "")

    if last.hour == last.minute == last.second == 0:
        end = f"{paper_date(last - timedelta(days=1))}24时"
    else:
        end = f"{paper_date(last)}{clock(last)}"
    return f"自{paper_date(first)}{clock(first)}起至{end}止"
