// The QR code opens /verify#number.code: what follows # never reaches a server, so it is put into the form here.
"use strict";
const [number, code] = decodeURIComponent(location.hash.slice(1)).split(".");
if (number && code) {
  document.getElementById("policy_no").value = number;
  document.getElementById("code").value = code;
  history.replaceState(null, "", location.pathname);
}
