from servicekit.runner import run
from services.notify.service import Notify

run(Notify)
