from servicekit.runner import run
from services.signing.service import Signing

run(Signing)
