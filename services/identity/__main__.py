from servicekit.runner import run
from services.identity.service import Identity

run(Identity)
