from servicekit.runner import run
from services.issuance.service import Issuance

run(Issuance)
