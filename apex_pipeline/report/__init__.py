"""The completion report: what was delivered and how well it works, measured on writing.

It contains no claims. Each figure and each state is measured while the report is written
and says how. If something could not be measured, the report says so, and why.
"""
