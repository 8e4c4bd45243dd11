// Shows the person to themselves, as a real platform's page does. The picture stays here: nothing in this file sends
// anything, and the page's policy allows no connection. Without this file the tester's buttons still work.
"use strict";

const part = (id) => document.getElementById(id);
const video = part("video");
const picture = part("picture");

/** Makes one of the ways on the visible one. */
function offer(way, words) {
  for (const id of ["open", "instead", "begin"]) part(id).hidden = id !== way;
  part("say").textContent = words;
}

const WITHOUT_CAMERA = {
  NotAllowedError: "您没有允许使用摄像头。也可以用手机自带的相机拍一张正面照。",
  NotFoundError: "没有找到摄像头。请用手机自带的相机拍一张正面照。",
  // How WebKit says it.
  OverconstrainedError: "没有找到摄像头。请用手机自带的相机拍一张正面照。",
};

async function openCamera() {
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false });
    offer("begin", "看着屏幕，保持脸在框里，然后点“开始核验”。");
    part("begin").querySelector("button").focus();
  } catch (problem) {
    offer("instead", WITHOUT_CAMERA[problem.name] ?? "摄像头打不开。请用手机自带的相机拍一张正面照。");
    part("file").focus();
  }
}

function closeCamera() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
}

function showPicture() {
  const [file] = part("file").files;
  if (!file) return;
  picture.onload = () => URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(file);
  picture.hidden = false;
  video.hidden = true;
  offer("begin", "照片拍好了。请点“开始核验”。");
}

part("open").addEventListener("click", openCamera);
part("file").addEventListener("change", showPicture);
window.addEventListener("pagehide", closeCamera);
part("camera").hidden = false;
