from servicekit.runner import run
from services.payment.service import Payment

run(Payment)
