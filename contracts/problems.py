"""Every refusal a customer, channel or partner can meet: stable code, HTTP status, a sentence, the next step.

RFC 9457 problem details are made from this table alone; a code that is not here cannot be raised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field

from contracts.values import Contract, Slug

MOST_FAULTS: Final = 100
"""An answer names at most so many: nobody mends more at once, and a body of nothing but faults must not become an
answer longer than the bus carries.
"""


_NAME: Final = re.compile(r"(?!.*[0-9]{5})[A-Za-z0-9_$.~/-]{1,64}")


def pointer(*names: int | str) -> str:
    """An RFC 6901 JSON pointer. A name that is no program's becomes ``?``: it was somebody's input, and nobody's name
    or number comes back by this way.
    """
    path = ""
    for name in names:
        known = isinstance(name, int) or _NAME.fullmatch(name) is not None
        path += "/" + (str(name).replace("~", "~0").replace("/", "~1") if known else "?")
    return path


class FieldFault(Contract):
    """What is wrong with one field. Never the value itself."""

    pointer: str
    """RFC 6901 JSON pointer into the request's body."""
    code: Slug
    detail: str


class Problem(Contract):
    """A refusal on its way from a service to the edge."""

    code: Slug
    errors: tuple[FieldFault, ...] = ()
    retry_after: Annotated[int, Field(ge=0)] | None = None
    """Seconds."""
    extra: dict[str, Any] = {}
    """Further members of the problem document; nothing personal."""


class Kind(NamedTuple):
    status: int
    title: str
    next_step: str
    recorded: bool = True
    """Whether it is a fact of the journey. What may simply be asked again (waiting, a stale nonce) is not."""


KINDS: dict[str, Kind] = {
    # the request itself
    "malformed": Kind(400, "请求内容无法识别。", "请返回上一页重新操作。", False),
    "invalid_fields": Kind(422, "有些内容需要修改。", "请按提示改正标出的内容后再提交。", False),
    "body_too_large": Kind(413, "提交的内容太大。", "请减少内容后再提交。", False),
    "body_too_slow": Kind(408, "提交用的时间太长。", "请检查网络后再提交。", False),
    "unsupported_media_type": Kind(415, "请求格式不对。", "请使用 application/json 提交。", False),
    "not_found": Kind(404, "没有找到您要的内容。", "请检查链接是否完整。", False),
    "method_not_allowed": Kind(405, "不支持这样的操作。", "请返回上一页重新操作。", False),
    "too_many_requests": Kind(429, "操作太频繁了。", "请稍等片刻再试。", False),
    "idempotency_key_missing": Kind(400, "请求缺少 Idempotency-Key。", "请为每次提交带上一个新的编号。", False),
    "idempotency_key_reused": Kind(422, "同一个编号被用于不同的内容。", "请换一个新的编号再提交。", False),
    "internal": Kind(500, "系统出了点问题，您已完成的步骤都已保存。", "请稍后重试，或点“人工帮助”。", False),
    "unavailable": Kind(503, "系统正忙，您已完成的步骤都已保存。", "请稍等几秒再试。", False),
    "premise_pending": Kind(503, "上一步正在保存。", "请稍等几秒再试。", False),
    "write_conflict": Kind(409, "同时有别的操作正在进行。", "请刷新页面后再试。", False),
    "evidence_unavailable": Kind(
        503, "存证服务暂时不可用，为保护您的权益，这一步先不进行。", "请稍等片刻再试。", False
    ),
    "certificate_unavailable": Kind(
        503, "电子认证机构暂时没有回应，您已完成的签署已经保存。", "请稍等片刻，系统会自动完成。", False
    ),
    "timestamp_unavailable": Kind(
        503, "时间戳服务暂时不可用，为保护您的权益，这一步先不进行。", "请稍等片刻再试。", False
    ),
    "platform_unavailable": Kind(503, "核验平台暂时没有回应。", "请稍等片刻再试，或换另一种核验方式。", False),
    "channel_unavailable": Kind(503, "支付通道暂时没有回应。", "请稍等片刻再试，不会重复扣款。", False),
    # who asks
    "credentials_missing": Kind(401, "缺少身份凭证。", "请重新打开短信里的链接；业务员和员工请重新登录。", False),
    "credentials_invalid": Kind(401, "身份凭证无效。", "请检查密钥，或重新打开短信里的链接。", False),
    "not_yours": Kind(404, "没有找到您要的内容。", "请检查编号是否正确。", False),
    "not_the_customer": Kind(403, "这一步只能由投保人本人在自己的手机上完成。", "请把链接交给投保人本人操作。"),
    "role_missing": Kind(403, "您没有这项权限。", "请联系管理员。", False),
    "sign_in_failed": Kind(401, "用户名或密码不对。", "请核对后再试；忘了密码请联系管理员。", False),
    "sign_in_attempts": Kind(429, "登录尝试次数太多。", "请过一会儿再试；忘了密码请联系管理员。", False),
    "cross_site": Kind(403, "这次操作不是从本站页面发起的。", "请在本站页面上重新操作。", False),
    # the device and its proof
    "use_dpop_nonce": Kind(401, "请求需要新的随机数。", "请用返回的随机数重新签名后再试。", False),
    "proof_missing": Kind(401, "缺少设备签名。", "请在原来的手机上重新打开链接。", False),
    "proof_malformed": Kind(401, "设备签名无法识别。", "请在原来的手机上重新打开链接。"),
    "proof_algorithm": Kind(401, "设备签名的算法不对。", "请在原来的手机上重新打开链接。"),
    "proof_type": Kind(401, "设备签名的类型不对。", "请在原来的手机上重新打开链接。"),
    "proof_private_key": Kind(401, "设备签名里带有私钥，已拒绝。", "请在原来的手机上重新打开链接。"),
    "proof_signature": Kind(401, "设备签名核验不通过。", "请在原来的手机上重新打开链接。"),
    "proof_method": Kind(401, "设备签名与这次操作不符。", "请返回上一页重新操作。"),
    "proof_url": Kind(401, "设备签名与这次操作不符。", "请返回上一页重新操作。"),
    "proof_body": Kind(401, "设备签名与提交的内容不符。", "请返回上一页重新操作。"),
    "proof_replayed": Kind(401, "这个设备签名已经用过。", "请返回上一页重新操作。"),
    "proof_key_changed": Kind(401, "这次操作不是在原来的手机上进行的。", "请用完成身份核验的那部手机继续。"),
    "proof_token": Kind(401, "会话凭证与设备签名不符。", "请重新打开短信里的链接。"),
    # the journey as a whole
    "journey_unknown": Kind(404, "没有找到这笔投保。", "请检查链接是否完整，或联系您的业务员。", False),
    "link_invalid": Kind(404, "链接无效。", "请使用短信里的完整链接，或联系您的业务员重新发送。"),
    "journey_expired": Kind(410, "这笔投保已过期。", "请联系您的业务员重新发起。"),
    "journey_withdrawn": Kind(410, "这笔投保已被撤回。", "请联系您的业务员了解原因。"),
    "journey_issued": Kind(409, "这笔投保已经出单。", "请在保单页面查看和下载保单。"),
    "device_bound": Kind(
        409, "您已在另一部手机上签名，不能换设备继续。", "请用签名的那部手机继续，或联系您的业务员重新发起。"
    ),
    "session_not_open": Kind(401, "会话尚未建立或已失效。", "请重新打开短信里的链接。"),
    "session_expired": Kind(401, "会话已超过两小时，为保护您的权益需要重新开始。", "请重新打开短信里的链接。"),
    "reproof_required": Kind(
        401, "您离开的时间有点长，需要再次核验身份，已确认的内容都保留着。", "请再次核验身份后继续。"
    ),
    # proposal
    "channel_reference_used": Kind(409, "这个渠道流水号已经提交过。", "请查询原来的投保，或换一个流水号。", False),
    "product_not_offered": Kind(422, "这笔投保里没有这个产品。", "请返回确认页核对。"),
    "product_not_optional": Kind(409, "这个产品不是可选产品，不能单独去掉。", "如不需要，请联系您的业务员修改投保。"),
    "terms_changed": Kind(409, "投保内容与您看到的不一致。", "请返回确认页，核对后重新确认。"),
    "terms_not_confirmed": Kind(409, "您还没有确认投保内容。", "请先在确认页核对并确认。"),
    "preselected": Kind(422, "可选产品不能预先勾选。", "请由投保人本人选择。"),
    "order_open": Kind(409, "有一笔付款正在进行。", "请先完成或取消付款，再修改。"),
    "already_signed": Kind(409, "您已经签名。", "如需修改，请联系您的业务员重新发起。"),
    # identity
    "recording_not_acknowledged": Kind(409, "请先阅读并确认“操作过程会被记录”的提示。", "请返回第一页确认。"),
    "consent_missing": Kind(
        409, "这一步需要您先单独同意相应的授权书。", "请返回授权页逐项确认，也可以选择不刷脸的方式。"
    ),
    "notice_changed": Kind(409, "您看到的文本不是当前版本。", "请刷新页面后重新阅读。"),
    "person_mismatch": Kind(403, "姓名或身份证号与投保人不一致。", "请由投保人本人操作，并核对身份证上的信息。"),
    "underage": Kind(403, "投保人须年满 18 周岁。", "请联系您的业务员。"),
    "real_name_missing": Kind(409, "请先核验姓名和身份证号。", "请返回身份核验页填写。"),
    "real_name_failed": Kind(403, "姓名与身份证号核验不一致。", "请核对身份证信息后再试。"),
    "face_failed": Kind(403, "刷脸核验没有通过。", "可以再试一次，也可以改用短信加银行卡核验。"),
    "face_pending": Kind(409, "刷脸核验还没有结果。", "请完成刷脸后再继续。", False),
    "face_not_started": Kind(409, "您还没有开始刷脸。", "请先点“开始刷脸”。"),
    "bank_card_failed": Kind(403, "银行卡信息核验不一致。", "请核对卡号，须是本人名下、预留手机号一致的银行卡。"),
    "otp_not_sent": Kind(409, "请先获取短信验证码。", "请点“获取验证码”。"),
    "otp_wrong": Kind(403, "验证码不正确。", "请核对短信后再输入。"),
    "otp_expired": Kind(409, "验证码已过期。", "请重新获取验证码。"),
    "otp_attempts": Kind(429, "验证码错误次数太多。", "请过一会儿重新获取验证码。"),
    "otp_too_soon": Kind(429, "验证码刚刚发送过。", "请稍等一分钟再获取。", False),
    "identity_attempts": Kind(429, "身份核验失败次数太多。", "请一小时后再试，或点“人工帮助”。"),
    "phone_of_salesperson": Kind(422, "投保人手机号不能是业务员的手机号。", "请填写投保人本人的手机号。", False),
    "phone_shared": Kind(409, "这个手机号已用于三位投保人。", "请使用投保人本人的手机号。"),
    "identity_missing": Kind(409, "请先完成身份核验。", "请返回身份核验页。"),
    "identity_expired": Kind(409, "身份核验已过有效时间。", "请再次核验身份后继续。"),
    # disclosure
    "document_unknown": Kind(404, "没有这份文件。", "请返回阅读页。"),
    "document_changed": Kind(409, "您看到的文件不是当前版本。", "请刷新页面后重新阅读。"),
    "document_not_opened": Kind(409, "您还没有打开这份文件。", "请先打开并阅读。"),
    "reading_not_at_end": Kind(409, "您还没有读到文件末尾。", "请继续往下读到末尾。"),
    "paragraphs_unread": Kind(409, "还有段落没有读到。", "请把每一段都读到。"),
    "reading_too_short": Kind(409, "阅读时间还不够。", "请再看一会儿，时间到了按钮会亮起。"),
    "point_unknown": Kind(404, "没有这条重点提示。", "请返回上一页。"),
    "point_not_ready": Kind(409, "请先读完全部文件。", "请返回阅读页。"),
    "points_unacknowledged": Kind(409, "还有重点提示没有确认。", "请逐条确认重点提示。"),
    "needs_unanswered": Kind(409, "还有需求问题没有回答。", "请先回答需求问题。"),
    "advice_open": Kind(409, "根据您的回答，我们建议您先不要购买。", "如仍要继续，请明确选择“我了解，仍要继续”。"),
    "advice_changed": Kind(409, "建议内容与您看到的不一致。", "请刷新页面后再确认。"),
    "questions_unanswered": Kind(409, "还有告知问题没有回答。", "请如实回答全部问题。"),
    "question_unknown": Kind(422, "回答与问题不符。", "请按页面上的问题逐一回答。"),
    "answer_declined": Kind(409, "根据您的回答，我们不能承保这个产品。", "如为可选产品请去掉；否则请联系您的业务员。"),
    "reading_incomplete": Kind(409, "还有文件没有读完并确认。", "请返回阅读页，逐份读完并确认。"),
    # signing
    "forms_not_prepared": Kind(409, "投保单还没有生成。", "请返回投保单页面。"),
    "form_changed": Kind(409, "您看到的投保单不是当前版本。", "请刷新页面后重新核对。"),
    "forms_unreviewed": Kind(409, "还有投保单没有核对确认。", "请逐份核对投保单。"),
    "form_undrawable": Kind(
        503, "投保单里有一个字暂时印不出来。", "您已完成的步骤都已保存，我们补上这个字后就能继续；也可以点“人工帮助”。"
    ),
    "declaration_changed": Kind(409, "声明内容与您看到的不一致。", "请刷新页面后再确认。"),
    "items_incomplete": Kind(409, "签名须对应每一份文件。", "请刷新页面后重新签名。"),
    "ink_empty": Kind(422, "没有写字。", "请在每个格子里写一个字。"),
    "ink_wrong_boxes": Kind(422, "字数与姓名不符。", "请每个格子写一个字，按姓名的顺序写全。"),
    "ink_line": Kind(422, "写的是一条线，不是字。", "请用正楷一笔一画书写。"),
    "ink_dot": Kind(422, "写的是一个点，不是字。", "请用正楷把字写大一些。"),
    "ink_too_small": Kind(422, "字写得太小。", "请写大一些，写满格子。"),
    "ink_too_few_strokes": Kind(422, "笔画太少。", "请用正楷一笔一画书写，不要连笔。"),
    "ink_too_many_strokes": Kind(422, "笔画太多。", "请一格只写一个字；写错了，清除这一格再重写。"),
    "ink_too_fast": Kind(422, "写得太快。", "请用正楷一笔一画慢慢写。"),
    "ink_seen_before": Kind(422, "这个笔迹以前用过。", "请重新亲笔书写。"),
    "ink_malformed": Kind(422, "笔迹数据不完整。", "请清除后重新书写。"),
    "handwriting_empty": Kind(422, "还没有写字。", "请在每个格子里写一个字。"),
    "handwriting_box_empty": Kind(422, "有一格还没有写字。", "请补写这一格。"),
    "handwriting_unclear": Kind(422, "有的字没有认出来。", "请用正楷、一笔一画重新写，写满格子。"),
    "handwriting_another_name": Kind(422, "写的不像是投保人的姓名。", "请按证件上的姓名，用正楷逐字重新书写。"),
    "phrase_unknown": Kind(422, "声明里没有这一句。", "请刷新页面后再抄写。"),
    "phrase_unclear": Kind(422, "抄写的有些字没有认出来。", "请用正楷重写标出的字，一格一个字。"),
    "declaration_uncopied": Kind(409, "声明还没有抄写完。", "请先逐句抄写声明。"),
    "reviews_exhausted": Kind(
        409, "签名几次都没有通过人工核对。", "已完成的步骤都已保存；请点“人工帮助”，或联系您的业务员。"
    ),
    "review_pending": Kind(409, "工作人员正在核对您的签名。", "请稍等，核对完页面会自动继续。", False),
    "review_over": Kind(409, "这份签名已经不用核对了。", "请返回列表，看下一份。", False),
    "review_decided": Kind(409, "您已经核对过这份签名，要由另一位同事再看。", "请返回列表，看下一份。", False),
    "not_signed": Kind(409, "您还没有签名。", "请先签名。"),
    "already_done": Kind(409, "这一步已经完成。", "请继续下一步。", False),
    # payment
    "order_unknown": Kind(404, "没有这笔付款。", "请返回付款页。"),
    "order_paid": Kind(409, "这笔付款已经完成。", "请等待保单生成。", False),
    "amount_mismatch": Kind(409, "付款金额与确认的金额不一致。", "请返回付款页核对金额。"),
    "notification_invalid": Kind(401, "支付通知核验不通过。", "请检查签名与时间。", False),
    "notification_stale": Kind(401, "支付通知超出时间范围。", "请检查时钟。", False),
    "notification_replayed": Kind(401, "支付通知的随机数已用过。", "请使用新的随机数。", False),
    "nothing_to_refund": Kind(409, "没有可退的款项。", "请核对付款记录。"),
    # issuance, evidence, aftercare
    "order_renounced": Kind(409, "这笔付款正在退回。", "款项会原路退回；如仍要投保，请联系您的业务员重新发起。"),
    "policies_not_ready": Kind(409, "保单正在生成。", "请稍等片刻，页面会自动更新。", False),
    "glyph_missing": Kind(
        503, "保单里有一个字暂时印不出来。", "您的付款和投保都有效，我们补上这个字后保单会自动生成。"
    ),
    "policy_undrawable": Kind(500, "保单暂时无法生成。", "您的付款和投保都有效，我们处理好后保单会自动生成。"),
    "policy_unknown": Kind(404, "没有查到这张保单。", "请核对保单号和验真码。", False),
    "download_expired": Kind(410, "下载链接已用过或已过期。", "请返回保单页面重新点下载。", False),
    "evidence_incomplete": Kind(503, "存证还不完整。", "请稍等片刻再试。", False),
    "survey_not_open": Kind(409, "现在没有可填写的问卷。", "您可以直接离开，保单不受影响。", False),
    "referral_unknown": Kind(404, "链接已失效。", "您可以在应用商店直接搜索。", False),
    "referral_too_early": Kind(409, "前一步还没有收到。", "请稍后再报告这一步。", False),
}


def title(kind: Kind, extra: Mapping[str, Any]) -> str:
    """Its sentence; of a name written one character a box, ``extra`` may say which, from 1."""
    box = extra.get("box")
    return kind.title if box is None else f"第 {box} 格：{kind.title}"


class Refuse(Exception):
    """Raised by a rule: the command is refused with this code (a key of ``KINDS``).

    Raises ``KeyError`` at once for a code that is not in the table.
    """

    def __init__(
        self,
        code: str,
        *,
        errors: tuple[FieldFault, ...] = (),
        retry_after: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(code)
        self.kind = KINDS[code]
        self.problem = Problem(code=code, errors=errors, retry_after=retry_after, extra=extra)

    @property
    def code(self) -> str:
        return self.problem.code
