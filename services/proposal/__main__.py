from servicekit.runner import run
from services.proposal.service import Proposal

run(Proposal)
