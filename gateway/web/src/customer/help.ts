/** Whether the sheet with a human's number lies open; a dialog over the page opens it as the header does (I27). */
import { ref } from "vue";

export const helping = ref(false);

export function askForHelp(): void {
  helping.value = true;
}
