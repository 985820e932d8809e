"""Rankings: every row scored by one method beside others, with controls, reports and diagnostics."""
