from servicekit.runner import run
from services.appdownload.service import AppDownload

run(AppDownload)
