// Dark or light: as the system says, until somebody says otherwise.

const THEMES = ["auto", "light", "dark"];
const THEME_KEY = "peftcore-theme";

function themeKept() {
  // A browser may keep nothing for a page from a file.
  try {
    const kept = localStorage.getItem(THEME_KEY);
    return THEMES.includes(kept) ? kept : "auto";
  } catch {
    return "auto";
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.querySelector("#theme span").textContent = theme;
  try {
    localStorage.setItem(THEME_KEY, theme);
  } catch {
    // Then it holds for this visit.
  }
}

setTheme(themeKept());
document.getElementById("theme").addEventListener("click", () => {
  const now = THEMES.indexOf(document.documentElement.dataset.theme);
  setTheme(THEMES[(now + 1) % THEMES.length]);
});
