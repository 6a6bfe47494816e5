"""Format strings of measures."""

DOLLARS = r"\$#,0.00"
SMALL_DOLLARS = r"\$#,0.00000"
WHOLE, ONE_PLACE, TWO_PLACES = "#,0", "#,0.0", "#,0.00"
RATE = "0.0%"
SIGNED_RATE = "+0.0%;-0.0%;0.0%"
# A letter that is no placeholder stands behind a backslash.
MILLISECONDS = r"#,0 \m\s"
MINUTES = r"#,0.0 \m\i\n"
INSTANT = "yyyy-mm-dd hh:nn"
