"use strict";
// Shows the page in the browser's language; without scripts it is in English.
if (/^zh\b/i.test(navigator.language)) document.documentElement.lang = "zh-CN";
