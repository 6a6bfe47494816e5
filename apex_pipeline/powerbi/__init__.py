"""The Power BI project in `powerbi/`: described here, generated from here, checked here."""
