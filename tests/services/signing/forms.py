"""Application forms as channels send them: a usual one and the hardest one."""

from datetime import UTC, datetime

from servicekit.documents.sheet import Amount, Cover, Row, Section
from services.signing.application_form import ApplicationForm, DocumentRead, Question

CREATED = datetime(2026, 3, 7, 8, 5, 9, tzinfo=UTC)

DECLARATION = (
    (
        "本人确认已收到保险条款全文及《机动车商业保险免责事项说明书》。保险人已通过上述书面形式向本人详细介绍并提供投保险种所使用的条款，"
        "并对其中免除保险人责任的条款（包括但不限于责任免除、投保人被保险人义务、赔偿处理、附则等），"
        "以及本保险合同中付费约定和特别约定的内容向本人作了明确说明，本人已充分理解并接受上述内容，同意以此作为订立保险合同的依据。"
    ),
    "本人自愿投保上述险种，上述所填写的内容均属实。",
)
SENTENCE = "保险人已明确说明免除保险人责任条款的内容及法律后果。"


def usual() -> ApplicationForm:
    return ApplicationForm(
        title="机动车商业保险投保单",
        form_number="TB-SYX-01",
        form_version="2026.1",
        application_number="TSYX202644010000000128",
        created=CREATED,
        insurer_name="示例财产保险股份有限公司广州分公司",
        insurer_address="广东省广州市天河区珠江新城华夏路一百号示例大厦十二层",
        insurer_hotline="95000",
        sections=(
            Section(
                title="投保人",
                rows=(
                    Row(label="姓名", value="王小明"),
                    Row(label="证件类型", value="居民身份证"),
                    Row(label="证件号码", value="440106199003071234"),
                    Row(label="移动电话", value="13800138000"),
                    Row(
                        label="住址", value="广东省广州市天河区体育西路一百零三号维多利广场A座二十八楼2803室", wide=True
                    ),
                ),
            ),
            Section(
                title="被保险人",
                rows=(
                    Row(label="姓名", value="王小明"),
                    Row(label="与投保人关系", value="本人"),
                    Row(label="证件类型", value="居民身份证"),
                    Row(label="证件号码", value="440106199003071234"),
                ),
            ),
            Section(
                title="投保车辆",
                rows=(
                    Row(label="号牌号码", value="粤A·B12C3"),
                    Row(label="号牌种类", value="小型汽车号牌"),
                    Row(label="厂牌型号", value="比亚迪BYD7152WT5HEV2"),
                    Row(label="车辆识别代号", value="LGXC16AF5N0123456"),
                    Row(label="发动机号", value="BYD472QA 221012345"),
                    Row(label="使用性质", value="家庭自用"),
                    Row(label="核定载客", value="5 人"),
                    Row(label="初次登记日期", value="2023年4月18日"),
                    Row(label="能源类型", value="插电式混合动力"),
                    Row(label="新车购置价", value="129,800.00 元"),
                    Row(label="行驶证车主", value="王小明"),
                    Row(label="上年出险次数", value="0 次"),
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
        questions=(
            Question(text="投保车辆是否用于网约车、租赁或其他营业性运输？", answer="否"),
            Question(text="投保车辆近一年内是否曾经改装，或者发生过重大事故、水淹、火烧？", answer="否"),
        ),
        channel=(
            Row(label="销售渠道", value="保险专业代理"),
            Row(label="中介机构", value="广东示例保险代理有限公司"),
            Row(label="销售人员", value="李静"),
            Row(label="执业证号", value="02000144010080002026000123"),
        ),
        documents=(
            DocumentRead(title="投保须知", version="2026.1"),
            DocumentRead(title="机动车商业保险条款", version="2026.1"),
            DocumentRead(title="机动车商业保险免责事项说明书", version="2026.1"),
        ),
        declaration=DECLARATION,
        sentence=SENTENCE,
        qr="https://toubao.example/verify#TSYX202644010000000128.8K3M2Q",
    )


NAME_OF_TWENTY = "阿卜杜热合曼·买买提依明江·吐尔逊尼亚孜"
"""Twenty signs with the middle dots; names like it are on identity cards."""


def hardest() -> ApplicationForm:
    """Rare characters, a name of twenty, a long model, ten covers, taxes, an answer that fills its line."""
    base = usual()
    holder, insured, vehicle = base.sections
    return base.model_copy(
        update={
            "sections": (
                holder.model_copy(
                    update={
                        "rows": (
                            Row(label="姓名", value=NAME_OF_TWENTY),
                            *holder.rows[1:4],
                            Row(
                                label="住址",
                                value="新疆维吾尔自治区伊犁哈萨克自治州霍尔果斯市𬭚㛃䶮街道" * 2 + "18号楼3单元1204室",
                                wide=True,
                            ),
                        )
                    }
                ),
                insured.model_copy(update={"rows": (Row(label="姓名", value="𬭚㛃䶮"), *insured.rows[1:])}),
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
                    ("附加机动车增值服务特约条款（道路救援、代驾、安全检测、送检）", "各 2 次", "—", 0),
                )
            ),
            "premium_fen": 13_206_45,
            "taxes": (
                Amount(label="车船税（当年应缴）", fen=480_00),
                Amount(label="车船税（往年补缴）", fen=0),
                Amount(label="车船税滞纳金", fen=0),
            ),
            "total_fen": 13_686_45,
        }
    )
