from servicekit.runner import run
from services.nps.service import Nps

run(Nps)
