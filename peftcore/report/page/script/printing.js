// On paper nothing can be opened, and charts are as wide as the sheet.

window.addEventListener("beforeprint", () => {
  for (const element of document.querySelectorAll("details")) element.open = true;
  drawAll();
});
window.addEventListener("afterprint", drawAll);
