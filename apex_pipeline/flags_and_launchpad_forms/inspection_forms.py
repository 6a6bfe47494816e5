"""The options of `apex doctor` and `apex report`, and of their jobs."""

from dataclasses import dataclass

from apex_pipeline.flags_and_launchpad_forms.declaring import Form, option, switch, text


@dataclass(frozen=True)
class DoctorForm(Form):
    """Options of `apex doctor`."""

    send_test: bool = switch(
        "Also send a test message through each alert channel (up to half a minute)"
    )


@dataclass(frozen=True)
class ReportForm(Form):
    """Options of `apex report`."""

    html: bool = option(
        "One HTML file with the pictures embedded, instead of Markdown with the pictures "
        "beside it",
        default=True,
        at_terminal=False,
    )
    output: str = text(
        "File to write",
        unset="reports/completion-DATE-TIME in APEX_STATE_DIR, or in APEX_EXPORT_DIR where "
        "that is an object store",
        flag="-o/--output",
        kind="file",
    )
    junit_xml: str = text(
        "Test results that `pytest --junit-xml` wrote",
        unset="test-results.xml in APEX_STATE_DIR",
        kind="file",
    )
    screenshots: bool = option(
        "Include screenshots of the panel and the Dagster UI, if Playwright and "
        "Chromium are installed",
        default=True,
        flag="--screenshots/--no-screenshots",
    )
