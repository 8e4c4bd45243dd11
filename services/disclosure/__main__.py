from servicekit.runner import run
from services.disclosure.service import Disclosure

run(Disclosure)
