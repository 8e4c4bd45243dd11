from servicekit.runner import run
from services.evidence.service import Evidence

run(Evidence)
