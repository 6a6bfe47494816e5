"""The completion report: what there is and how well it works, measured as it is written.

Nothing in it is a claim. Each figure and each state is looked up while the report is
made, and says how; what could not be measured says so, and why.
"""
