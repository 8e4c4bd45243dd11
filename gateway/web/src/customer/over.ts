/** What lies open over the page and may be closed, the topmost last: the back button closes it first. */
export const over: (() => void)[] = [];
