import "../look/theme.css";
import { createApp } from "vue";
import Page from "./Page.vue";
import { restoreSize } from "./size";

restoreSize();
createApp(Page).mount("#page");
