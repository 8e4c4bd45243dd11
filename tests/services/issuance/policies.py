"""Policies as issuance makes them: a usual one, a compulsory one with taxes, and the hardest one."""

from datetime import UTC, datetime

from servicekit.documents.sheet import Amount, Cover, Row, Section
from services.issuance.policy_pdf import PolicyDocument

CREATED = datetime(2026, 3, 7, 8, 21, 40, tzinfo=UTC)

NAME_OF_TWENTY = "阿卜杜热合曼·买买提依明江·吐尔逊尼亚孜"


def usual() -> PolicyDocument:
    return PolicyDocument(
        title="机动车商业保险保险单（电子保单）",
        policy_number="SYXA202644010000000042X",
        application_number="TSYX202644010000000128",
        created=CREATED,
        insurer_name="示例财产保险股份有限公司广州分公司",
        insurer_address="广东省广州市天河区珠江新城华夏路一百号示例大厦十二层",
        insurer_hotline="95000",
        preamble="投保人已向保险人提出投保申请，同意按约定交付保险费。保险人依照下列承保险种及其对应条款和特别约定，承担保险责任。",
        confirmation=(
            Row(label="投保确认码", value="02SYXA440026030712345678901234567890", wide=True),
            Row(label="投保确认时间", value="2026-03-07 16:18:22"),
            Row(label="收费确认时间", value="2026-03-07 16:21:35"),
            Row(label="保单生成时间", value="2026-03-07 16:21:40"),
            Row(label="签单日期", value="2026年3月7日"),
        ),
        sections=(
            Section(
                title="投保人与被保险人",
                rows=(
                    Row(label="投保人", value="王小明"),
                    Row(label="证件号码", value="440106199003071234"),
                    Row(label="被保险人", value="王小明"),
                    Row(label="证件号码", value="440106199003071234"),
                ),
            ),
            Section(
                title="保险车辆",
                rows=(
                    Row(label="号牌号码", value="粤A·B12C3"),
                    Row(label="行驶证车主", value="王小明"),
                    Row(label="厂牌型号", value="比亚迪BYD7152WT5HEV2"),
                    Row(label="使用性质", value="家庭自用"),
                    Row(label="车辆识别代号", value="LGXC16AF5N0123456"),
                    Row(label="核定载客", value="5 人"),
                    Row(label="发动机号", value="BYD472QA 221012345"),
                    Row(label="初次登记日期", value="2023年4月18日"),
                ),
            ),
        ),
        covers=(
            Cover(name="机动车损失保险", limit="98,648.00", deductible="无", fen=1_386_25),
            Cover(name="机动车第三者责任保险", limit="2,000,000.00", deductible="无", fen=1_012_40),
            Cover(name="机动车车上人员责任保险（司机）", limit="10,000.00", fen=24_60),
            Cover(name="机动车车上人员责任保险（乘客）", limit="10,000.00 × 4 座", fen=61_20),
            Cover(name="附加医保外医疗费用责任险", limit="200,000.00", fen=88_00),
        ),
        premium_fen=2_572_45,
        total_fen=2_572_45,
        period="自2026年3月15日0时起至2027年3月14日24时止",
        special_terms=(
            "本保单为电子保单，与纸质保单具有同等法律效力。",
            "保险车辆发生保险事故后，请及时拨打客户服务电话报案。",
        ),
        dispute_resolution="提交广州仲裁委员会仲裁",
        channel=(
            Row(label="销售渠道", value="保险专业代理"),
            Row(label="中介机构", value="广东示例保险代理有限公司"),
            Row(label="销售人员", value="李静"),
            Row(label="执业证号", value="02000144010080002026000123"),
            Row(label="经办", value="系统自动"),
            Row(label="制单／核保", value="系统自动／系统自动"),
        ),
        notices=(
            "请核对保险单内容。如有不符，请在收到保险单后四十八小时内与保险人联系，办理更正。",
            "请详细阅读所附保险条款，特别是责任免除、投保人被保险人义务、赔偿处理等内容。",
            "车辆转让、改装、改变使用性质的，请及时书面通知保险人。",
            "凭保险单号和验真码，可以在保险人网站核对本保险单的真伪。",
        ),
        verification_code="8K3M-2QTX",
        verify_at="https://toubao.example/verify#SYXA202644010000000042X.8K3M2QTX",
        record={"policy_number": "SYXA202644010000000042X", "premium_fen": 2_572_45, "insured": "王小明"},
    )


def compulsory() -> PolicyDocument:
    base = usual()
    return base.model_copy(
        update={
            "title": "机动车交通事故责任强制保险单（电子保单）",
            "policy_number": "JQXA2026440100000000317",
            "headings": ("赔偿项目", "责任限额（元）", "", ""),
            "covers": tuple(
                Cover(name=name, limit=limit)
                for name, limit in (
                    ("死亡伤残赔偿限额", "180,000.00"),
                    ("医疗费用赔偿限额", "18,000.00"),
                    ("财产损失赔偿限额", "2,000.00"),
                    ("被保险人无责任时死亡伤残赔偿限额", "18,000.00"),
                    ("被保险人无责任时医疗费用赔偿限额", "1,800.00"),
                    ("被保险人无责任时财产损失赔偿限额", "100.00"),
                )
            ),
            "premium_fen": 665_00,
            "taxes": (
                Amount(label="代收车船税（当年应缴）", fen=325_00),
                Amount(label="代收车船税（往年补缴）", fen=0),
                Amount(label="代收车船税滞纳金", fen=0),
            ),
            "total_fen": 990_00,
        }
    )


def hardest() -> PolicyDocument:
    """Rare characters, a name of twenty, a long model, ten covers."""
    base = usual()
    parties, vehicle = base.sections
    return base.model_copy(
        update={
            "sections": (
                parties.model_copy(
                    update={
                        "rows": (
                            Row(label="投保人", value=NAME_OF_TWENTY),
                            parties.rows[1],
                            Row(label="被保险人", value="𬭚㛃䶮"),
                            *parties.rows[3:],
                        )
                    }
                ),
                vehicle.model_copy(
                    update={
                        "rows": (
                            *vehicle.rows[:2],
                            Row(
                                label="厂牌型号",
                                value="梅赛德斯-奔驰 BENZ GLS450 4MATIC 豪华型 WDC1679591A LONGNAME-EDITION",
                            ),
                            *vehicle.rows[3:],
                        )
                    }
                ),
            ),
            "covers": tuple(
                Cover(name=name, limit=limit, deductible=deductible, fen=fen)
                for name, limit, deductible, fen in (
                    ("机动车损失保险", "1,298,648.00", "绝对免赔额 2,000 元", 8_386_25),
                    ("机动车第三者责任保险", "10,000,000.00", "无", 3_012_40),
                    ("机动车车上人员责任保险（司机）", "50,000.00", "无", 124_60),
                    ("机动车车上人员责任保险（乘客）", "50,000.00 × 6 座", "无", 361_20),
                    ("附加绝对免赔率特约条款（机动车损失保险）", "—", "绝对免赔率 10%", 0),
                    ("附加车轮单独损失险", "20,000.00", "无", 188_00),
                    ("附加车身划痕损失险", "20,000.00", "无", 850_00),
                    ("附加医保外医疗费用责任险（机动车第三者责任保险）", "500,000.00", "无", 188_00),
                    ("附加法定节假日限额翻倍险", "10,000,000.00", "无", 96_00),
                    ("附加机动车增值服务特约条款（道路救援、代驾、安全检测、送检）", "各 2 次", "", 0),
                )
            ),
            "premium_fen": 13_206_45,
            "total_fen": 13_206_45,
        }
    )
