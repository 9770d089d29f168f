"""Reports: tables, figures and prose, all computed from stored records."""
