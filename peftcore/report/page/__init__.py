"""The report as a page: one HTML file that needs neither a network nor a build step."""
